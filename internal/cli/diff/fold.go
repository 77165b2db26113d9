package diff

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/internal/object"
)

// Action is what would happen to an object.
type Action string

// Actions.
const (
	Create   Action = "create"
	Update   Action = "update"
	Recreate Action = "recreate" // delete, and create anew: a field is immutable and force is set
	Delete   Action = "delete"
	Release  Action = "release" // take the owner label off and leave the object
)

// Ref names an object.
type Ref struct {
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`

	id object.ID
}

// Change is what would happen to one object, on all clusters where it would be the same.
type Change struct {
	Action   Action   `json:"action"`
	Object   Ref      `json:"object"`
	Clusters []string `json:"clusters"`
	Fields   []Field  `json:"fields,omitempty"`
	// Note is what is not certain about it.
	Note string `json:"note,omitempty"`
}

// Problem is what would not go well, or what is not known, on some clusters.
type Problem struct {
	Clusters []string `json:"clusters"`
	// Object is nil when it concerns all of them.
	Object  *Ref   `json:"object,omitempty"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Report is the difference of a Kustomization on its clusters.
type Report struct {
	Kustomization string `json:"kustomization"`
	Namespace     string `json:"namespace"`
	// From and To are the revisions that were compared; empty where clusters were asked.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Clusters counts those that were asked for, and Unchanged those of them on which nothing would change.
	Clusters  int      `json:"clusters"`
	Unchanged int      `json:"unchanged"`
	Changes   []Change `json:"changes"`
	// Refused would not be taken by the clusters, or is not applied.
	Refused []Problem `json:"refused,omitempty"`
	// Unknown clusters could not be asked.
	Unknown []Problem `json:"unknown,omitempty"`
}

// Result is the difference on one cluster.
type Result struct {
	Cluster string
	Changes []Change
	Refused []Problem
	Unknown []Problem
}

// Fold joins the results of all clusters: equal ones become one that names the clusters. The order is that
// of applying, creations and updates before deletions.
func Fold(r Report, results []Result) Report {
	changes, refused, unknown := folder[Change]{}, folder[Problem]{}, folder[Problem]{}
	r.Clusters, r.Changes = len(results), []Change{}
	for _, result := range results {
		if len(result.Changes)+len(result.Refused)+len(result.Unknown) == 0 {
			r.Unchanged++
		}
		for _, c := range result.Changes {
			changes.add(c, result.Cluster)
		}
		for _, p := range result.Refused {
			refused.add(p, result.Cluster)
		}
		for _, p := range result.Unknown {
			unknown.add(p, result.Cluster)
		}
	}
	for _, f := range changes.all {
		f.value.Clusters = f.clusters
		r.Changes = append(r.Changes, f.value)
	}
	slices.SortStableFunc(r.Changes, func(a, b Change) int {
		if x, y := a.Action.gone(), b.Action.gone(); x != y {
			if x {
				return 1
			}
			return -1
		}
		return object.Order(a.Object.id, b.Object.id)
	})
	r.Refused, r.Unknown = problems(refused), problems(unknown)
	return r
}

func (a Action) gone() bool { return a == Delete || a == Release }

func problems(f folder[Problem]) []Problem {
	var out []Problem
	for _, p := range f.all {
		p.value.Clusters = p.clusters
		out = append(out, p.value)
	}
	slices.SortStableFunc(out, func(a, b Problem) int { return strings.Compare(a.Reason, b.Reason) })
	return out
}

// folder folds what is equal when it is written down.
type folder[T any] struct {
	all   []*folded[T]
	index map[string]*folded[T]
}

type folded[T any] struct {
	value    T
	clusters []string
}

func (f *folder[T]) add(v T, cluster string) {
	key, _ := json.Marshal(v) // values come from JSON
	if f.index == nil {
		f.index = map[string]*folded[T]{}
	}
	one := f.index[string(key)]
	if one == nil {
		one = &folded[T]{value: v}
		f.index[string(key)] = one
		f.all = append(f.all, one)
	}
	one.clusters = append(one.clusters, cluster)
}
