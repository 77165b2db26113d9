package cluster

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
)

const systemNamespace = v1alpha1.SystemNamespace

// wanted is the Cluster that the command line describes.
type wanted struct {
	labels, vars change
}

// change is what is to be set, and what to be removed.
type change struct {
	set    map[string]string
	remove []string
}

// on returns what comes of the change; old is left as it is.
func (c change) on(old map[string]string) map[string]string {
	out := maps.Clone(old)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, c.set)
	for _, key := range c.remove {
		delete(out, key)
	}
	return out
}

var variable = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// parse reads the command line, so that what the API server would refuse is refused before anything
// is made on the edge.
func parse(o *Options) (wanted, error) {
	var w wanted
	var err error
	switch problems := validation.IsDNS1123Subdomain(o.Name); {
	case o.FromKubeconfig == "" && !o.Agent.Enabled:
		return w, factory.Usagef("--from-kubeconfig is missing: the kubeconfig of the edge cluster")
	case o.Name == v1alpha1.HubCluster:
		return w, factory.Usagef("the name %q stands for the hub's own cluster", o.Name)
	case len(problems) > 0:
		return w, factory.Usagef("%q cannot be the name of a cluster: %s", o.Name, problems[0])
	case len(o.Name) > 63:
		return w, factory.Usagef("the name of a cluster has at most 63 characters, this one has %d", len(o.Name))
	}
	if err := o.Agent.check(o); err != nil {
		return w, err
	}
	if o.Server != "" {
		if u, err := url.Parse(o.Server); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
			return w, factory.Usagef("--server must be an https URL without credentials")
		}
	}
	if w.labels, err = parseChange("--label", o.Labels, labelProblem); err != nil {
		return w, err
	}
	w.vars, err = parseChange("--var", o.Vars, varProblem)
	return w, err
}

// labelProblem returns what is wrong with a label; "" when nothing is.
func labelProblem(key, value string) string {
	if key == v1alpha1.OwnerLabel || key == v1alpha1.PartLabel {
		return "it is set by the hub"
	}
	return first(validation.IsQualifiedName(key), validation.IsValidLabelValue(value))
}

// varProblem returns what is wrong with a variable; "" when nothing is.
func varProblem(key, value string) string {
	switch {
	case !variable.MatchString(key):
		return "a variable name has letters, digits and '_', and does not begin with a digit"
	case key == "cluster_name" || key == "cluster_namespace":
		return key + " is set by the hub"
	case len(value) > 4096:
		return "a value has at most 4096 bytes"
	}
	return ""
}

func parseChange(flag string, args []string, problem func(key, value string) string) (change, error) {
	c := change{set: map[string]string{}}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if name, remove := strings.CutSuffix(arg, "-"); !ok && remove {
			c.remove = append(c.remove, name)
			continue
		}
		if !ok {
			return c, factory.Usagef("%s %q must be key=value, or key- to remove it", flag, arg)
		}
		if p := problem(key, value); p != "" {
			return c, factory.Usagef("%s %q: %s", flag, key, p)
		}
		if old, twice := c.set[key]; twice && old != value {
			return c, factory.Usagef("%s %q is given twice", flag, key)
		}
		c.set[key] = value
	}
	slices.Sort(c.remove)
	return c, nil
}

func first(lists ...[]string) string {
	for _, list := range lists {
		if len(list) > 0 {
			return list[0]
		}
	}
	return ""
}
