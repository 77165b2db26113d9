package bootstrap

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/components"
)

const componentsHeader = `# The hub, as 'skerry bootstrap' wrote it, which writes it again: change it by patches in
# kustomization.yaml.
`

const syncHeader = `# What lets the hub read this folder, as 'skerry bootstrap' wrote it, which writes it again.
`

const kustomizationFile = `# Yours to change: 'skerry bootstrap' leaves it as it is. Patch the hub here.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- components.yaml
- sync.yaml
`

// dir is the folder of the hub's own files.
func dir(p string) string { return path.Join(p, name) }

// files returns the hub's files, by path from the root of the repository, but for
// kustomization.yaml, which is written only where it is missing. Same options, same bytes.
func files(scheme *runtime.Scheme, o *Options, hubID string, credentials bool) (map[string][]byte, error) {
	render := o.Options
	render.HubID = hubID
	hub, err := components.Render(render)
	if err != nil {
		return nil, err
	}
	componentsFile, err := apply.YAML(hub)
	if err != nil {
		return nil, err
	}
	source, root := syncObjects(o, hubID, credentials)
	var sync []*unstructured.Unstructured
	for _, object := range []runtimeObject{source, root} {
		m, err := apply.FromTyped(scheme, object)
		if err != nil {
			return nil, err
		}
		sync = append(sync, m)
	}
	syncFile, err := apply.YAML(sync)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		dir(o.Path) + "/components.yaml": append([]byte(componentsHeader), componentsFile...),
		dir(o.Path) + "/sync.yaml":       append([]byte(syncHeader), syncFile...),
	}, nil
}

// syncObjects are the GitRepository and the Kustomization by which the hub reads its own folder.
//
// The Kustomization does not wait for health. Everything below the folder is in it, the hub's own
// Deployment and other Kustomizations among it: to wait would make "the root is ready" mean "the
// fleet is ready", one edge that is switched off would hold it for ever, and a hub that replaces
// itself would wait for the Pod that takes over from it. Flux's root Kustomization leaves it out for
// the same reasons. Ready means that everything was applied; `skerry status` shows the rest.
//
// It orphans: a user who deletes the root, by mistake or to move the hub, must not delete the hub that
// would have to do the deleting, and all kinds with it.
func syncObjects(o *Options, hubID string, credentials bool) (*v1alpha1.GitRepository, *v1alpha1.Kustomization) {
	object := metav1.ObjectMeta{Namespace: name, Name: name}
	source := &v1alpha1.GitRepository{
		ObjectMeta: object,
		Spec: v1alpha1.GitRepositorySpec{
			URL:       o.URL,
			Reference: &v1alpha1.GitRepositoryRef{Branch: o.Branch},
			Interval:  metav1.Duration{Duration: o.Interval},
		},
	}
	if credentials {
		source.Spec.SecretRef = &meta.LocalObjectReference{Name: name}
	}
	yes, no := true, false
	object.Annotations = map[string]string{components.HubIDAnnotation: hubID}
	root := &v1alpha1.Kustomization{
		ObjectMeta: object,
		Spec: v1alpha1.KustomizationSpec{
			SourceRef:      v1alpha1.SourceReference{Kind: v1alpha1.GitRepositoryKind, Name: name},
			Path:           pathField(o.Path),
			Interval:       metav1.Duration{Duration: 10 * time.Minute},
			RetryInterval:  &metav1.Duration{Duration: 30 * time.Second},
			Prune:          &yes,
			Wait:           &no,
			DeletionPolicy: v1alpha1.DeletionOrphan,
		},
	}
	return source, root
}

func pathField(p string) string {
	if p == "." {
		return "./"
	}
	return "./" + p
}

var notInID = regexp.MustCompile(`[^a-z0-9]+`)

// makeHubID makes the identity of a hub from where it reads: the same after the hub was lost and is
// bootstrapped again, on another cluster even, so that the edges still know it.
func makeHubID(url, p string) string {
	readable := strings.Trim(notInID.ReplaceAllString(strings.ToLower(path.Base(p)), "-"), "-")
	if readable == "" {
		readable = "hub"
	}
	sum := sha256.Sum256([]byte(url + "\x00" + p))
	return readable[:min(len(readable), 40)] + "-" + hex.EncodeToString(sum[:4])
}

// knownHubID reads the identity from the sync.yaml of an earlier run, "" when there is none.
func knownHubID(syncFile []byte) (string, error) {
	for doc := range strings.SplitSeq(string(syncFile), "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			return "", fmt.Errorf("cannot read the hub's identity from sync.yaml: %w", err)
		}
		if id := o.GetAnnotations()[components.HubIDAnnotation]; o.GetKind() == v1alpha1.KustomizationKind && id != "" {
			return id, nil
		}
	}
	return "", nil
}
