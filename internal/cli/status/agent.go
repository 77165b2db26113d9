package status

import (
	"fmt"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/table"
	"github.com/skerry-dev/skerry/internal/link"
)

// Pending is what a cluster waits for before its agent counts as connected or not.
type Pending string

const (
	// PendingJoin means that no agent has joined, or that the key of the one that had was taken away.
	PendingJoin Pending = "join"
	// PendingApproval means that the agent that has joined waits to be approved.
	PendingApproval Pending = "approval"
	// PendingReport means that an agent has joined, or its key was given, and nothing of the cluster was ever reported.
	PendingReport Pending = "report"
)

// Agent is what is known of the agent of a cluster.
type Agent struct {
	Version string `json:"version,omitempty"`
	// Pending is what the cluster waits for until its agent reports; empty from then on.
	Pending Pending `json:"pending,omitempty"`
	// ConnectedSince is when its connection began; nil while it has none, or the hub does not work.
	ConnectedSince *time.Time `json:"connectedSince,omitempty"`
	// DisconnectedAt is when the hub last heard from it over the connection before.
	DisconnectedAt *time.Time `json:"disconnectedAt,omitempty"`
	// CarriedAt is when the hub took a report of it that was carried there by medium, where that is the last that is
	// known of it.
	CarriedAt *time.Time `json:"carriedAt,omitempty"`
	// Disk is what is wrong with its disk.
	Disk string `json:"disk,omitempty"`
	// Behind counts the kustomizations of which the cluster does not have what the hub wants, and BehindSince is
	// when the hub assigned the oldest of it.
	Behind      int        `json:"behind,omitempty"`
	BehindSince *time.Time `json:"behindSince,omitempty"`
	// CorrectedWhileAway counts the drift that the agent put back between DisconnectedAt and ConnectedSince, of the
	// last ten records of each kustomization.
	CorrectedWhileAway int `json:"correctedWhileAway,omitempty"`

	total  int  // kustomizations that are wanted
	silent bool // the hub does not work: whether the agent is connected is not known
}

// agentReport returns nil for a cluster without an agent. The hub's own cluster has none.
func agentReport(c *v1alpha1.Cluster, a *v1alpha1.Assignment, hubAtWork bool, runs []Run) *Agent {
	if c.Spec.Agent == nil {
		return nil
	}
	out := &Agent{silent: !hubAtWork, Pending: pendingFor(c)}
	if s := c.Status.Agent; s != nil {
		out.Version, out.Disk = iostreams.Line(s.Version), iostreams.Line(s.Disk)
		if s.ConnectedSince != nil && hubAtWork && out.Pending == "" { // else it is the connection of a key that was taken away
			out.ConnectedSince = &s.ConnectedSince.Time
		}
		if s.DisconnectedAt != nil {
			out.DisconnectedAt = &s.DisconnectedAt.Time
		}
		if r := s.CarriedReport; r != nil && r.ImportedAt != nil && s.ConnectedSince == nil && (s.DisconnectedAt == nil || !r.ImportedAt.Before(s.DisconnectedAt)) {
			out.CarriedAt = &r.ImportedAt.Time
		}
	}
	for _, r := range runs {
		if r.State == Deleting {
			continue
		}
		out.total++
		if !r.behind {
			continue
		}
		out.Behind++
		if r.Assigned != nil && (out.BehindSince == nil || r.Assigned.Before(*out.BehindSince)) {
			out.BehindSince = r.Assigned
		}
	}
	out.CorrectedWhileAway = correctedBetween(a, out.DisconnectedAt, out.ConnectedSince)
	return out
}

// pendingFor reads it from what users and the gateway write to the Cluster, not from conditions, so that it holds from the
// moment when a key is taken away, and while the hub does not work.
func pendingFor(c *v1alpha1.Cluster) Pending {
	switch {
	case c.Spec.Agent.PublicKey == "":
		return PendingJoin
	case AwaitsApproval(c):
		return PendingApproval
	case c.Status.UID == "" && c.Status.LastSeen == nil:
		return PendingReport
	}
	return ""
}

// AwaitsApproval reports whether an agent of the Cluster has joined whose key is to be approved. The Cluster has an agent.
func AwaitsApproval(c *v1alpha1.Cluster) bool {
	a := c.Spec.Agent
	return a.PublicKey != "" && a.Approval == v1alpha1.AgentApprovalManual &&
		c.Annotations[v1alpha1.AgentApprovedAnnotation] != link.Fingerprint(link.DecodeKey(a.PublicKey))
}

// correctedBetween counts the drift that was put back between two times.
func correctedBetween(a *v1alpha1.Assignment, from, until *time.Time) int {
	if a == nil || from == nil || until == nil {
		return 0
	}
	n := 0
	for i := range a.Status.Entries {
		for _, d := range a.Status.Entries[i].Drifts {
			if d.Action == v1alpha1.DriftCorrected && !d.At.Time.Before(*from) && !d.At.After(*until) {
				n++
			}
		}
	}
	return n
}

// AgentHeader are the headings of what AgentCells writes.
func AgentHeader() []string { return []string{"AGENT", "CONNECTED", "BEHIND", "WAS AWAY"} }

// AgentCells are empty for a cluster without an agent. WAS AWAY is shown for an hour after the return.
func (v View) AgentCells(a *Agent) []table.Cell {
	if a == nil {
		return make([]table.Cell, len(AgentHeader()))
	}
	connected, behind, away := table.Painted("no", v.IO.Red), table.Cell{}, table.Cell{}
	switch {
	case a.Pending == PendingApproval:
		connected = table.Painted("pending approval", v.IO.Yellow)
	case a.Pending != "":
		connected = table.Painted("pending", v.IO.Yellow)
	case a.silent:
		connected = table.Painted("unknown", v.IO.Yellow)
	case a.ConnectedSince != nil:
		connected = table.Plain("for " + Age(a.ConnectedSince, v.Now))
	case a.CarriedAt != nil:
		connected = table.Painted("no, report carried "+v.ago(a.CarriedAt), v.IO.Red)
	}
	if a.Behind > 0 {
		text := fmt.Sprintf("%d of %d", a.Behind, a.total)
		if a.BehindSince != nil {
			text += " for " + Age(a.BehindSince, v.Now)
		}
		behind = table.Painted(text, v.IO.Yellow)
	}
	if a.ConnectedSince != nil && a.DisconnectedAt != nil && v.Now.Sub(*a.ConnectedSince) < DriftTime {
		text := Age(a.DisconnectedAt, *a.ConnectedSince)
		if a.CorrectedWhileAway > 0 {
			text += fmt.Sprintf(", %d put back", a.CorrectedWhileAway)
		}
		away = table.Plain(text)
	}
	return []table.Cell{table.Plain(a.Version), connected, behind, away}
}
