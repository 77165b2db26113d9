package build

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/components"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// online reads everything from the hub, and the files from --path or from Git.
func online(ctx context.Context, o *Options) (*input, error) {
	hub, err := o.Hub()
	if err != nil {
		return nil, err
	}
	ks := &v1alpha1.Kustomization{}
	if err := hub.Get(ctx, client.ObjectKey{Namespace: o.Flags.Namespace, Name: o.Name}, ks); err != nil {
		return nil, noKustomization(ctx, o, hub, err)
	}
	origin := &hubOrigin{Options: o, hub: hub, id: o.HubID, lookup: lookup(ctx, hub)}
	if origin.id == "" {
		var err error
		if origin.id, err = hubID(ctx, hub); err != nil {
			return nil, err
		}
	}
	in, err := origin.input(ctx, ks)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Files != nil:
		in.files = o.Files
	case o.Path != "":
		in.files, err = Checkout(o.Path)
	default:
		err = origin.files(ctx, in)
	}
	if err != nil {
		in.remove()
		return nil, err
	}
	return in, nil
}

// hubOrigin is what the hub's API server holds.
type hubOrigin struct {
	*Options
	hub    *factory.Hub
	id     string // of the hub, in owner labels
	lookup func(kind, namespace, name string) (*targeting.Content, error)
}

func (h *hubOrigin) input(ctx context.Context, ks *v1alpha1.Kustomization) (*input, error) {
	clusters, access, err := factory.Selectable(ctx, h.hub, ks)
	if err != nil {
		return nil, err
	}
	in := &input{remove: func() {}, ks: ks, clusters: clusters, access: access, hubID: h.id, lookup: h.lookup, origin: h}
	if in.assigned, err = assigned(ctx, h.hub, ks); err != nil {
		return nil, err
	}
	if source, err := sourceOf(ctx, h.hub, ks); err == nil && source.Spec.Ignore != nil {
		in.ignore = *source.Spec.Ignore
	}
	return in, nil
}

func (h *hubOrigin) files(ctx context.Context, in *input) error {
	source, err := sourceOf(ctx, h.hub, in.ks)
	if err != nil {
		return err
	}
	return fetch(ctx, h.Options, h.hub, source, in)
}

// sourceOf reads the GitRepository of a Kustomization.
func sourceOf(ctx context.Context, hub *factory.Hub, ks *v1alpha1.Kustomization) (*v1alpha1.GitRepository, error) {
	source := &v1alpha1.GitRepository{}
	key := targeting.SourceOf(ks)
	name := v1alpha1.RelativeName(ks.Namespace, key)
	err := hub.Get(ctx, key, source)
	switch {
	case apierrors.IsNotFound(err):
		return nil, factory.Next(fmt.Errorf("there is no GitRepository %s, which is the source of Kustomization %s", name, ks.Name), "create it with 'skerry create source git', or correct spec.sourceRef; --path takes the files from a checkout")
	case err != nil:
		return nil, fmt.Errorf("cannot read GitRepository %s: %w", name, err)
	}
	return source, nil
}

// assigned reads what each cluster is assigned; without the right to list them, nothing is shown.
func assigned(ctx context.Context, hub *factory.Hub, ks *v1alpha1.Kustomization) (map[string]v1alpha1.Bundle, error) {
	list := &v1alpha1.AssignmentList{}
	if err := hub.List(ctx, list, factory.InClusterNamespaces(ks)...); apierrors.IsForbidden(err) {
		return nil, nil //nolint:nilnil // nothing is known
	} else if err != nil {
		return nil, fmt.Errorf("cannot list Assignments: %w", err)
	}
	found := map[string]v1alpha1.Bundle{}
	for i := range list.Items {
		at := client.ObjectKeyFromObject(&list.Items[i])
		for _, e := range list.Items[i].Spec.Entries {
			if v1alpha1.ResolveName(at.Namespace, e.Name) == client.ObjectKeyFromObject(ks) && e.Digest != "" && !e.Remove {
				found[v1alpha1.RelativeName(ks.Namespace, at)] = v1alpha1.Bundle{Revision: report.RevisionOf(ks.Status.Rendered, e.Revision, e.Digest), Digest: e.Digest}
			}
		}
	}
	return found, nil
}

func noKustomization(ctx context.Context, o *Options, hub *factory.Hub, err error) error {
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot read Kustomization %s: %w", o.Name, err)
	}
	names, err := factory.Names(ctx, hub, &v1alpha1.KustomizationList{}, o.Flags.Namespace)
	if err != nil {
		return err
	}
	return factory.NotFound("kustomization", o.Name, o.Flags.Namespace, names)
}

// hubID is the identity of the hub: the flag in its Deployment, or else the uid of its cluster.
func hubID(ctx context.Context, hub *factory.Hub) (string, error) {
	d := &unstructured.Unstructured{}
	d.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
	if err := hub.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "skerry-hub"}, d); err == nil {
		if id := components.HubID([]*unstructured.Unstructured{d}); id != "" {
			return id, nil
		}
	}
	ns := &corev1.Namespace{}
	if err := hub.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, ns); err != nil {
		return "", factory.Next(fmt.Errorf("cannot read the namespace kube-system, whose uid is the hub's identity: %w", err), "name it with --hub-id")
	}
	return string(ns.UID), nil
}

// lookup reads ConfigMaps and Secrets, each once.
func lookup(ctx context.Context, hub *factory.Hub) func(kind, namespace, name string) (*targeting.Content, error) {
	known := map[string]*targeting.Content{}
	return func(kind, namespace, name string) (*targeting.Content, error) {
		if found, ok := known[kind+"/"+namespace+"/"+name]; ok {
			return found, nil
		}
		found, err := content(ctx, hub, kind, client.ObjectKey{Namespace: namespace, Name: name})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("cannot read %s %s: %w", kind, name, err)
		}
		known[kind+"/"+namespace+"/"+name] = found
		return found, nil
	}
}

func content(ctx context.Context, hub *factory.Hub, kind string, key client.ObjectKey) (*targeting.Content, error) {
	if kind == "ConfigMap" {
		config := &corev1.ConfigMap{}
		if err := hub.Get(ctx, key, config); err != nil {
			return nil, err
		}
		return &targeting.Content{Data: config.Data}, nil
	}
	secret := &corev1.Secret{}
	if err := hub.Get(ctx, key, secret); err != nil {
		return nil, err
	}
	found := contentOf(secret)
	return &found, nil
}

// fetch brings the commit that the hub has, with the hub's credentials for it and with what it includes, into a
// folder that goes again.
func fetch(ctx context.Context, o *Options, hub *factory.Hub, source *v1alpha1.GitRepository, in *input) error {
	dir, err := os.MkdirTemp("", "skerry-build-")
	if err != nil {
		return fmt.Errorf("cannot make a folder for the commit: %w", err)
	}
	in.remove = func() { _ = os.RemoveAll(dir) }
	store, err := git.OpenStore(dir, git.Options{Proxy: http.ProxyFromEnvironment, Now: time.Now})
	if err != nil {
		return err
	}
	d := &download{Options: o, hub: hub, store: store}
	commit, err := d.fetch(ctx, source, 0)
	if err != nil {
		return err
	}
	revision := source.Status.Artifact.Revision
	if in.files, err = store.Tree(ctx, source.Name, commit.TreeName()); err != nil {
		return fmt.Errorf("cannot read %s: %w", revision, err)
	}
	o.IO.Progressf("revision %s", revision)
	return nil
}

// download fetches GitRepositories of one namespace, each under its name.
type download struct {
	*Options
	hub   *factory.Hub
	store *git.Store
}

// maxIncludes bounds how deep repositories include others; the hub refuses circles.
const maxIncludes = 16

// fetch brings the commit of a GitRepository's artifact, and what it includes at the commits that the hub has
// put it together of.
func (d *download) fetch(ctx context.Context, source *v1alpha1.GitRepository, depth int) (git.Commit, error) {
	name := source.Name
	if source.Status.Artifact == nil {
		return git.Commit{}, factory.Next(fmt.Errorf("the GitRepository %s has fetched nothing yet", name), "'skerry get source %s' says why; --path takes the files from a checkout", name)
	}
	if depth > maxIncludes || len(source.Status.IncludedArtifacts) != len(source.Spec.Include) {
		return git.Commit{}, factory.Next(fmt.Errorf("the hub has not put together yet what the GitRepository %s includes", name), "'skerry get source %s' says why; --path takes the files from a checkout", name)
	}
	req := git.RequestFor(source)
	// The commit of the artifact, looked for where the hub has found it.
	req.Reference = req.Reference.At(source.Status.Artifact.Revision)
	req.Key, req.Timeout = name, d.Timeout(git.DefaultTimeout)
	var err error
	req.Auth, err = git.AuthFor(source, func(secretName string) (map[string][]byte, error) {
		secret := &corev1.Secret{}
		err := d.hub.Get(ctx, client.ObjectKey{Namespace: source.Namespace, Name: secretName}, secret)
		if err != nil {
			return nil, factory.Next(fmt.Errorf("cannot read the Secret %s: %w", secretName, err), "take the files from a checkout, with --path")
		}
		return secret.Data, nil
	})
	if err != nil {
		return git.Commit{}, fmt.Errorf("GitRepository %s: %w", name, err)
	}
	commit, err := d.store.Follow(ctx, req)
	if err != nil {
		return git.Commit{}, factory.Next(factory.OtherServer(fmt.Errorf("cannot fetch %s: %w", source.Status.Artifact.Revision, err)), "take the files from a checkout, with --path")
	}
	var parts []git.Part
	for i, in := range source.Spec.Include {
		other := &v1alpha1.GitRepository{}
		if err := d.hub.Get(ctx, client.ObjectKey{Namespace: source.Namespace, Name: in.GitRepositoryRef.Name}, other); err != nil {
			return git.Commit{}, fmt.Errorf("cannot read the GitRepository %s, which %s includes: %w", in.GitRepositoryRef.Name, name, err)
		}
		other.Status.Artifact = &source.Status.IncludedArtifacts[i]
		included, err := d.fetch(ctx, other, depth+1)
		if err != nil {
			return git.Commit{}, err
		}
		parts = append(parts, git.Part{Key: other.Name, Commit: included.Hash, Digest: included.Digest, From: in.GetFromPath(), At: in.GetToPath(), Ignore: ptr.Deref(other.Spec.Ignore, "")})
	}
	if len(parts) > 0 {
		if commit.Digest, _, err = d.store.Include(ctx, req.Key, commit, parts); err != nil {
			return git.Commit{}, fmt.Errorf("cannot put the GitRepository %s together: %w", name, err)
		}
	}
	return commit, nil
}
