package targeting

import (
	"fmt"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/report"
)

// Lookup returns what a ConfigMap or Secret of one namespace holds; nil when it is not there. Its
// errors are passed on as they are.
type Lookup func(kind, name string) (*Content, error)

// Substitutes returns the data of substituteFrom, in order. A *report.Waiting means that an object is
// not there.
func Substitutes(ks *v1alpha1.Kustomization, lookup Lookup) ([]render.Source, error) {
	if ks.Spec.PostBuild == nil {
		return nil, nil
	}
	var from []render.Source
	all, err := contents(ks.Spec.PostBuild.SubstituteFrom, "substituteFrom names", lookup)
	for _, c := range all {
		from = append(from, render.Source(c))
	}
	return from, err
}

// SetVars gives a target the variables of varsFrom of its Cluster. A *report.Waiting means that an object
// is not there, which is the affair of this cluster alone. Secrets do not cross namespaces: to a
// Kustomization of another one, a variable that a Secret sets is unset, so that a build that uses it is
// refused and not rendered with another value.
func SetVars(t *Target, c *v1alpha1.Cluster, lookup Lookup) error {
	if len(c.Spec.VarsFrom) == 0 {
		return nil
	}
	from, err := contents(c.Spec.VarsFrom, "varsFrom of the Cluster names", lookup)
	if err != nil {
		return err
	}
	t.SetVars(c, from)
	if t.Name != c.Name {
		for _, name := range t.Secret {
			delete(t.Vars, name)
		}
		t.Secret = nil
	}
	return nil
}

func contents(refs []v1alpha1.SubstituteReference, who string, lookup Lookup) ([]Content, error) {
	all := make([]Content, 0, len(refs))
	for _, ref := range refs {
		found, err := lookup(ref.Kind, ref.Name)
		switch {
		case err != nil:
			return nil, err
		case found != nil:
			all = append(all, *found)
		case !ref.Optional: // a watch shows when it is there
			return nil, &report.Waiting{
				Reason: v1alpha1.SubstitutionFailedReason,
				Err:    fmt.Errorf("there is no %s %s, which %s", ref.Kind, ref.Name, who),
			}
		}
	}
	return all, nil
}
