package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/gitpush"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/tree"
)

// tries is how often a push is tried while other pushes come first.
const tries = 10

type runtimeObject = client.Object

// manifests are the hub's own objects, as they come out of Git with whatever patches are there.
type manifests struct {
	objects []*unstructured.Unstructured
	hubID   string
}

// commit puts the hub's files into the branch, unless they are there. What it pushes was rendered
// first by the code that the hub renders with.
func (r *run) commit(ctx context.Context, s *factory.Step) error {
	for range tries {
		seen, err := r.remote.Fetch(ctx, r.Branch)
		if err != nil {
			return gitError(r.URL, err)
		}
		if r.pushed, err = r.put(ctx, seen, s); err != nil {
			return err
		}
		err = r.remote.Push(ctx, r.pushed)
		switch {
		case errors.Is(err, gitpush.ErrMoved):
			s.Notef("somebody else pushed meanwhile: once more")
			continue
		case err != nil:
			return gitError(r.URL, err)
		case r.pushed.Changed():
			s.Donef("%s/ pushed as %s", dir(r.Path), r.pushed.Revision())
		default:
			s.Donef("%s/ is as it should be at %s", dir(r.Path), r.pushed.Revision())
		}
		return nil
	}
	return factory.Next(fmt.Errorf("the branch moved at each of %d tries to push", tries), "try again")
}

// put returns the snapshot with the hub's files in it, and fills the manifests from it.
func (r *run) put(ctx context.Context, seen *gitpush.Snapshot, s *factory.Step) (*gitpush.Snapshot, error) {
	before, err := seen.Tree()
	if err != nil {
		return nil, err
	}
	hubID, err := r.hubID(before)
	if err != nil {
		return nil, err
	}
	all, err := files(r.hub.Scheme(), r.Options, hubID, len(r.secret) > 0)
	if err != nil {
		return nil, err
	}
	if own := dir(r.Path) + "/kustomization.yaml"; !before.IsFile(own) {
		all[own] = []byte(kustomizationFile)
	}
	if err := r.besideFlux(before, s); err != nil {
		return nil, err
	}
	if err := before.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the files of the branch: %w", err)
	}
	next, err := seen.Write(all, gitpush.Author{Name: r.AuthorName, Email: r.AuthorEmail, When: r.Now(), Sign: r.sign},
		r.message())
	if err != nil {
		return nil, err
	}
	after, err := next.Tree()
	if err != nil {
		return nil, err
	}
	objects, err := renderPath(ctx, after, r.Path)
	r.set = manifests{objects: objects, hubID: hubID}
	return next, err
}

// message is that of the commit.
func (r *run) message() string {
	text := "Let the hub keep itself from " + r.Path + "\n\nWritten by skerry bootstrap, " + r.Factory.Version + "."
	if r.CommitMessageAppendix != "" {
		text += "\n\n" + r.CommitMessageAppendix
	}
	return text
}

// hubID is the one on the command line, the one in Git, or a new one. One that is in Git stays: to
// everything that carries it, a hub of another identity is another hub.
func (r *run) hubID(before *tree.Tree) (string, error) {
	known := ""
	data, err := before.ReadFile(dir(r.Path) + "/sync.yaml")
	if err == nil {
		if known, err = knownHubID(data); err != nil {
			return "", err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	switch {
	case known != "" && r.HubID != "" && known != r.HubID:
		return "", factory.Next(fmt.Errorf("the hub's identity is %q in Git, and everything that it applied carries it", known), "leave --hub-id away")
	case known != "":
		return known, nil
	case r.HubID != "":
		return r.HubID, nil
	}
	return makeHubID(r.URL, r.Path), nil
}

// renderPath renders the whole path as the hub will, and returns the hub's own objects out of it, in the
// order of applying. A path that does not render, or leaves the hub's objects out, would leave the
// hub without a way to hear of its repair.
func renderPath(ctx context.Context, files *tree.Tree, p string) ([]*unstructured.Unstructured, error) {
	vars := map[string]string{"cluster_name": v1alpha1.HubCluster, "cluster_namespace": name}
	own, err := render.Build(ctx, files, render.Options{Path: dir(p), Vars: vars})
	if err != nil {
		return nil, factory.Next(fmt.Errorf("%s does not render: %w", dir(p), err), "repair it in Git and run this again; nothing was pushed")
	}
	all, err := render.Build(ctx, files, render.Options{Path: p, Vars: vars})
	if err != nil {
		return nil, factory.Next(fmt.Errorf("%s does not render: %w", p, err), "repair it in Git and run this again; nothing was pushed")
	}
	there := map[object.ID]object.Object{}
	for _, o := range all.Bundle.Objects {
		there[o.ID] = o
	}
	var out []*unstructured.Unstructured
	for _, o := range own.Bundle.Objects {
		final, ok := there[o.ID]
		if !ok {
			return nil, factory.Next(fmt.Errorf("%s renders without %s, which %s has", p, o.ID, dir(p)), "add %s to the resources of %s/kustomization.yaml and run this again; nothing was pushed", name, p)
		}
		m := &unstructured.Unstructured{}
		if err := m.UnmarshalJSON(final.Body); err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", o.ID, err)
		}
		out = append(out, m)
	}
	for _, kind := range []string{v1alpha1.GitRepositoryKind, v1alpha1.KustomizationKind} {
		if _, ok := there[object.ID{Group: v1alpha1.Group, Kind: kind, Namespace: name, Name: name}]; !ok {
			return nil, factory.Next(fmt.Errorf("%s does not have the %s %s", dir(p), kind, name), "add sync.yaml to the resources of %s/kustomization.yaml; nothing was pushed", dir(p))
		}
	}
	return out, nil
}
