package build

import (
	"context"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/render"
)

// Made is what a Kustomization renders for its clusters, for the commands that go on from there.
type Made struct {
	Kustomization *v1alpha1.Kustomization
	// HubID is the identity of the hub in the owner label.
	HubID string
	// For is what the chosen clusters get, those together that get the same.
	For []Rendered

	in *input
}

// Rendered is what some clusters get.
type Rendered struct {
	// Clusters by name, "namespace/name" in another namespace than the Kustomization's.
	Clusters []string
	Objects  []object.Object
	// Bundle is the digest of the objects.
	Bundle string
	// Err is why they get nothing.
	Err error
}

// Make renders as the command does, with what is encrypted opened: a mask is for people to read, not for a
// cluster.
func Make(ctx context.Context, o *Options) (*Made, error) {
	o.Decrypt = true
	if err := o.check(); err != nil {
		return nil, err
	}
	in, all, err := makeAll(ctx, o)
	if err != nil {
		return nil, err
	}
	in.remove()
	made := &Made{Kustomization: in.ks, HubID: in.hubID, in: in}
	for _, r := range all {
		out := Rendered{Clusters: r.clusters, Err: r.err}
		if r.err == nil {
			out.Objects, out.Bundle = r.result.Bundle.Objects, r.result.Digest
		}
		made.For = append(made.For, out)
	}
	return made, nil
}

// Cluster returns a Cluster by the name that Rendered has; nil when there is none, as of the hub's own
// cluster before anything runs there.
func (m *Made) Cluster(name string) *v1alpha1.Cluster {
	key := v1alpha1.ResolveName(m.Kustomization.Namespace, name)
	for i := range m.in.clusters {
		if c := &m.in.clusters[i]; (types.NamespacedName{Namespace: c.Namespace, Name: c.Name}) == key && c.UID != "" {
			return c
		}
	}
	return nil
}

// Secrets are the values of Secrets that went into what was rendered, the longest first.
func (m *Made) Secrets() []string { return m.in.values(&Options{}) }

// MarshalYAML writes an object as the command shows it.
func MarshalYAML(v any) ([]byte, error) { return render.MarshalYAML(v) }
