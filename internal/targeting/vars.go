package targeting

import (
	"regexp"
	"slices"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Variables that every cluster has.
const (
	ClusterNameVar      = "cluster_name"
	ClusterNamespaceVar = "cluster_namespace"
)

var variableName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// Content is the data of a ConfigMap or Secret.
type Content struct {
	Data   map[string]string
	Secret bool
}

// SetVars gives the target the variables of its Cluster with what varsFrom names, in that order: a later
// one overrides an earlier one, vars overrides them all, and cluster_name and cluster_namespace are
// what they are. Keys that are no variable names are passed over.
func (t *Target) SetVars(c *v1alpha1.Cluster, from []Content) {
	t.Vars = vars(c, from)
	t.Secret = nil
	for name := range t.Vars {
		if _, own := c.Spec.Vars[name]; own || name == ClusterNameVar || name == ClusterNamespaceVar {
			continue
		}
		for _, content := range slices.Backward(from) { // the last one that has it
			if _, has := content.Data[name]; has {
				if content.Secret {
					t.Secret = append(t.Secret, name)
				}
				break
			}
		}
	}
	slices.Sort(t.Secret)
}

func vars(c *v1alpha1.Cluster, from []Content) map[string]string {
	all := make(map[string]string, len(c.Spec.Vars)+2)
	for _, content := range from {
		for k, v := range content.Data {
			if variableName.MatchString(k) {
				all[k] = v
			}
		}
	}
	for k, v := range c.Spec.Vars {
		all[k] = string(v)
	}
	all[ClusterNameVar] = c.Name
	all[ClusterNamespaceVar] = c.Namespace
	return all
}
