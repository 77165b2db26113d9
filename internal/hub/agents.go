package hub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"regexp"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/config"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/tree"
)

// agentOverlay is what a source with v1alpha1.AgentSourceURL has at its root. What it applies is never deleted: an
// agent whose Kustomization goes would take itself away, and could not finish. The namespace is left out: what is in it
// needs it, and Git may have it.
const agentOverlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [agent]
patches:
- target: {kind: .*}
  patch: '[{"op": "add", "path": "/metadata/annotations", "value": {"skerry.dev/prune": "disabled"}}]'
- patch: '{"$patch": "delete", "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "skerry-system"}}'
`

// agentRepository is where released images of the agent are.
const agentRepository = "ghcr.io/skerry-dev/skerry-agent"

var (
	// release matches the versions for which there are images.
	release = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-(alpha|beta|rc)\.[0-9]+)?$`)
	// imageName matches the names of images with a tag, a digest, or both.
	imageName = regexp.MustCompile(`^([a-z0-9._:-]+(?:/[a-z0-9._-]+)+)(?::([A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$`)
)

// agentImage is the image that goes with a version of the hub: the one that is given, or else that of the release. It
// is "" where neither is known: there is no image of a build, and "latest" is whatever was pushed last.
func agentImage(version, given string) string {
	switch {
	case given != "":
		return given
	case release.MatchString(version):
		return agentRepository + ":" + version
	}
	return ""
}

// errAgentImageUnknown leaves agents as they are.
func errAgentImageUnknown(version string) error {
	return &report.Stalled{Reason: v1alpha1.AgentImageUnknownReason, Err: fmt.Errorf(
		"the hub does not know the image of the agent that goes with it, since its version %s is no release: agents stay as they are; start it with --agent-image, or run a release", version)}
}

// agentManifests is the source of v1alpha1.AgentSourceURL: the manifests of the agent that goes with this version of
// the hub, which the hub holds itself. So a hub that is upgraded brings its agents with it, after it has started.
type agentManifests struct {
	version string
	image   string // "" where it is not known
	hash    string // of the content, 40 hexadecimal digits
	files   map[string]tree.File
}

// newAgentManifests reads the manifests that the program holds, for an image of agentImage.
func newAgentManifests(version, image string) (*agentManifests, error) {
	overlay := agentOverlay
	if p := imageName.FindStringSubmatch(image); p != nil {
		overlay += fmt.Sprintf("images:\n- name: %s\n  newName: %q\n  newTag: %q\n  digest: %q\n", agentRepository, p[1], p[2], p[3])
	}
	m := &agentManifests{version: version, image: image, files: map[string]tree.File{"kustomization.yaml": {Data: []byte(overlay)}}}
	h := sha256.New()
	fmt.Fprintf(h, "%d %s", len(overlay), overlay)
	entries, err := fs.ReadDir(config.FS, "agent")
	if err != nil {
		return nil, fmt.Errorf("cannot read the agent's manifests: %w", err)
	}
	for _, e := range entries { // sorted by name
		name := path.Join("agent", e.Name())
		data, err := fs.ReadFile(config.FS, name)
		if err != nil {
			return nil, fmt.Errorf("cannot read the agent's manifests: %w", err)
		}
		m.files[name] = tree.File{Data: data}
		fmt.Fprintf(h, "%d %s %d %s", len(name), name, len(data), data)
	}
	m.hash = hex.EncodeToString(h.Sum(nil))[:40]
	return m, nil
}

func (m *agentManifests) revision() string { return m.version + "@sha1:" + m.hash }

// follow answers for the agent's source, and passes on everything else.
func (m *agentManifests) follow(next func(context.Context, git.Request) (git.Commit, error)) func(context.Context, git.Request) (git.Commit, error) {
	return func(ctx context.Context, req git.Request) (git.Commit, error) {
		if req.URL != v1alpha1.AgentSourceURL {
			return next(ctx, req)
		}
		if m.image == "" {
			return git.Commit{}, errAgentImageUnknown(m.version)
		}
		size := int64(0)
		for _, f := range m.files {
			size += int64(len(f.Data))
		}
		return git.Commit{
			Revision: m.revision(), Hash: m.hash, Digest: "sha1:" + m.hash, Size: size, Fetched: req.Known != m.revision(),
			Subject: "The agent that goes with the hub " + m.version,
		}, nil
	}
}

// tree returns the manifests where they are asked for by their hash, which no commit has, and passes on everything
// else.
func (m *agentManifests) tree(next func(context.Context, types.NamespacedName, string) (*tree.Tree, error)) func(context.Context, types.NamespacedName, string) (*tree.Tree, error) {
	return func(ctx context.Context, source types.NamespacedName, name string) (*tree.Tree, error) {
		if name != m.hash {
			return next(ctx, source, name)
		}
		return tree.New("sha1:"+m.hash, m.files)
	}
}
