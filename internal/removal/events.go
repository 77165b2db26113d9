package removal

import (
	"fmt"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/text"
)

// removed is the event of a Cluster that was removed.
func (s State) removed() *report.Event {
	what := "Its objects are left there and belong to nobody"
	if s.policy() == v1alpha1.ClusterDeletionDelete {
		what = "Its objects are deleted"
	}
	if stay := s.orphaned(); len(stay) > 0 {
		return &report.Event{Warning: true, Reason: v1alpha1.RemovedReason, Message: what + ", but for those of " + few(stay) + ", whose ServiceAccounts could not delete them: they are left there and belong to nobody"}
	}
	return &report.Event{Reason: v1alpha1.RemovedReason, Message: what + "; nothing of the hub is left there but the namespace " + v1alpha1.SystemNamespace}
}

// orphaned names the Kustomizations whose objects stay though they were to be deleted.
func (s State) orphaned() []string {
	var names []string
	if s.Assignment == nil || s.deletionPolicy() == v1alpha1.DeletionOrphan {
		return nil
	}
	for i := range s.Assignment.Spec.Entries {
		if e := &s.Assignment.Spec.Entries[i]; e.Remove && e.DeletionPolicy == v1alpha1.DeletionOrphan {
			names = append(names, e.Name)
		}
	}
	return names
}

// abandoned is the event of a Cluster that is abandoned. It names what stays on the cluster.
func (s State) abandoned(warning bool, why string) *report.Event {
	var names []string
	objects := 0
	if s.Assignment != nil {
		for i := range s.Assignment.Spec.Entries {
			names = append(names, s.Assignment.Spec.Entries[i].Name)
		}
		for i := range s.Assignment.Status.Entries {
			objects += int(s.Assignment.Status.Entries[i].Objects.Applied)
		}
	}
	what := "the hub's inventories, claim and account"
	if s.Cluster.Spec.Agent != nil { // it has no account there, and keeps what its disk has
		what = "the hub's inventories and claim, and the agent, which goes on putting back drift until its Deployment skerry-agent is deleted there"
	}
	if s.retiring() { // the Kustomizations have gone
		return &report.Event{Warning: warning, Reason: v1alpha1.AbandonedReason, Message: why + ". It was told to take away what was left, and did not say that it has: what may stay there is " + what}
	}
	if len(names) > 0 {
		what = fmt.Sprintf("%s of %s, and %s", text.Count(objects, "object"), few(names), what)
	}
	return &report.Event{Warning: warning, Reason: v1alpha1.AbandonedReason, Message: why + ". What stays there: " + what}
}

// few names Kustomizations, at most five.
func few(names []string) string {
	list := strings.Join(names[:min(len(names), 5)], ", ")
	if more := len(names) - 5; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	if len(names) == 1 {
		return "Kustomization " + list
	}
	return "Kustomizations " + list
}
