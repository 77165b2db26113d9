package targeting

// Outcome is what a Kustomization came to in a reconcile: what the other ones need to know to drop an object that may have
// moved there, or to follow it in a rollout. It names clusters as the Kustomization does.
type Outcome struct {
	// Generation of the Kustomization, and Artifact of its source.
	Generation int64
	Artifact   string
	// Digests of what it renders, by cluster. Failed explains why there is none for a cluster, and Problem why there is
	// none for any.
	Digests map[string]string
	Failed  map[string]string
	Problem string
	// Assigned are the digests that are assigned, by cluster, once they are written.
	Assigned map[string]string
	// Inputs are digests of the variables and labels of a cluster, by cluster; 0 for those that are not known.
	Inputs map[string]uint64
	// LastGood are digests at the same generation, artifact and input, of clusters that have none in Digests.
	LastGood map[string]string
}

// Rendering names what a Kustomization renders for a cluster now.
type Rendering struct {
	Generation int64
	Artifact   string
	Cluster    string
	// Input returns the digest of the variables and labels that the cluster has; nil where it does not select the cluster.
	Input func() uint64
}

// LastGoodFor returns the LastGood of the outcome that follows this one, which may be nil: what is known of clusters for
// which the next one has no digest, where both are of the same generation, artifact and input. Of other variables it may
// come to anything.
func (o *Outcome) LastGoodFor(next *Outcome) map[string]string {
	if o == nil || o.Generation != next.Generation || o.Artifact != next.Artifact {
		return nil
	}
	lastGood := map[string]string{}
	for _, known := range []map[string]string{o.LastGood, o.Digests} {
		for cluster, digest := range known {
			if next.Digests[cluster] == "" && next.Inputs[cluster] != 0 && next.Inputs[cluster] == o.Inputs[cluster] {
				lastGood[cluster] = digest
			}
		}
	}
	return lastGood
}

// Unknown is the reason why the outcome, which may be nil, does not have what is rendered now; "" when it has. Problem means
// that the Kustomization is what keeps it from being known, and not that it has not been reconciled yet.
//
//	no outcome, another generation or commit          not rendered at this revision yet
//	the variables of the cluster have changed since   not rendered with them yet
//	it has a digest                                   known
//	it cannot be rendered, or not for the cluster     the reason, a problem
func (o *Outcome) Unknown(now Rendering) (why string, problem bool) {
	switch {
	case o == nil || o.Generation != now.Generation || o.Artifact != now.Artifact:
		return "is not rendered at this revision yet", false
	case now.Input != nil && now.Input() != o.Inputs[now.Cluster]:
		return "is not rendered with the variables and labels of this cluster yet", false
	case o.Digests[now.Cluster] != "":
		return "", false
	case o.Problem != "":
		return o.Problem, true
	case o.Failed[now.Cluster] != "":
		return o.Failed[now.Cluster], true
	}
	return "is not rendered for this cluster yet", false
}

// IsAssigned reports whether what it renders for a cluster is assigned there.
func (o *Outcome) IsAssigned(cluster string) bool { return o.Assigned[cluster] == o.Digests[cluster] }
