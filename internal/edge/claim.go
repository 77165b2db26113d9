package edge

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

const (
	hubAnnotation       = "skerry.dev/hub"
	clusterAnnotation   = "skerry.dev/cluster"
	instanceAnnotation  = "skerry.dev/hub-instance"
	challengeAnnotation = "skerry.dev/hub-challenge"
	answerAnnotation    = "skerry.dev/hub-answer"

	// staleChallenge is after how many times the grace a challenge of another process counts as left
	// behind by one that died.
	staleChallenge = 3
)

// Holder is the hub that works on a cluster.
type Holder struct {
	// Hub is the identity of the hub, in owner labels.
	Hub string
	// Instance distinguishes hubs of one identity: the uid of the hub's own cluster. Without one the
	// holder only reads: it takes a claim of its hub as it is.
	Instance string
	// Process distinguishes processes of one instance, of which leader election lets one work, unless one
	// is a copy of the other: a backup that was restored somewhere else.
	Process string
	// Since is when the process began. Of two processes the older one goes on.
	Since time.Time
	// Cluster is the Cluster on the hub, "namespace/name".
	Cluster string
	// TakeOver is the instance or process that a user ordered to give way.
	TakeOver string
	// Shared means that the hub has no more than a part of the cluster, beside others who have one as well.
	Shared bool
	// Holds reports whether another Cluster of this hub, "namespace/name", still has a right to the cluster; nil: none
	// has.
	Holds func(cluster string) bool
}

// claimName is the ConfigMap of the holder's claim. There is one for a hub that has the cluster to itself, and one
// for each of those that share it, so that none takes another's.
func (h Holder) claimName() string {
	if !h.Shared {
		return v1alpha1.ClaimName
	}
	sum := sha256.Sum256([]byte(h.Hub))
	return v1alpha1.ClaimName + "-" + hex.EncodeToString(sum[:8])
}

// isClaim reports whether a ConfigMap of SystemNamespace has the name of a claim, and whether of one that shares
// the cluster.
func isClaim(name string) (is, shared bool) {
	rest, is := strings.CutPrefix(name, v1alpha1.ClaimName)
	return is && (rest == "" || strings.HasPrefix(rest, "-")), rest != ""
}

// holds reports whether a claim with an instance is the holder's.
func (h Holder) holds(instance string) bool {
	return instance == h.Instance || instance == h.Instance+"."+h.Process
}

// shares reports whether the process that asks has the same right to a claim of the holder's: it is of the
// same instance, and no person has given the claim to one process of it.
func (h Holder) shares(c *claim) bool {
	return h.holds(c.challenge.Instance) && c.instance == h.Instance
}

// Challenge is the question whether the holder of a claim still works: written into the claim, which its
// holder watches and answers.
type Challenge struct {
	Nonce             string
	Instance, Process string
	Since             int64 // Unix seconds
}

func (c Challenge) String() string {
	return fmt.Sprintf("%s %d %s %s", c.Nonce, c.Since, c.Instance, c.Process)
}

func parseChallenge(s string) Challenge {
	f := strings.Fields(s)
	if len(f) != 4 {
		return Challenge{}
	}
	since, _ := strconv.ParseInt(f[1], 10, 64)
	return Challenge{Nonce: f[0], Since: since, Instance: f[2], Process: f[3]}
}

// olderThan reports whether the challenger began before the holder did.
func (c Challenge) olderThan(h Holder) bool {
	if since := h.Since.Unix(); c.Since != since {
		return c.Since < since
	}
	return c.Process < h.Process
}

// claim is the content of the ConfigMap of the claim.
type claim struct {
	name, hub, instance string
	cluster             string // that wrote it, "namespace/name"; an earlier version did not write it down
	challenge           Challenge
	// answered is the nonce of the challenge that was answered last, and by which process.
	answered, by string
	version      string
}

func readClaim(cm *corev1.ConfigMap) *claim {
	c := &claim{
		name: cm.Name, hub: cm.Annotations[hubAnnotation], instance: cm.Annotations[instanceAnnotation], cluster: cm.Annotations[clusterAnnotation],
		challenge: parseChallenge(cm.Annotations[challengeAnnotation]), version: cm.ResourceVersion,
	}
	c.answered, c.by, _ = strings.Cut(cm.Annotations[answerAnnotation], " ")
	return c
}

// pending reports whether there is a challenge that was not answered.
func (c *claim) pending() bool { return c.challenge.Nonce != "" && c.answered != c.challenge.Nonce }

// configMap returns the ConfigMap of the claim.
func (c *claim) configMap() *corev1.ConfigMap {
	cm := systemConfigMap(cmp.Or(c.name, v1alpha1.ClaimName), partHub)
	cm.ResourceVersion = c.version
	cm.Annotations = map[string]string{hubAnnotation: c.hub}
	if c.instance != "" {
		cm.Annotations[instanceAnnotation] = c.instance
	}
	if c.cluster != "" {
		cm.Annotations[clusterAnnotation] = c.cluster
	}
	if c.challenge.Nonce != "" {
		cm.Annotations[challengeAnnotation] = c.challenge.String()
	}
	if c.answered != "" {
		cm.Annotations[answerAnnotation] = c.answered + " " + c.by
	}
	return cm
}

// Contest is what a hub knows of its claim from before.
type Contest struct {
	// Suspect means that another process of the same instance seems to work on the cluster: an inventory
	// is not what this one wrote.
	Suspect bool
	// Nonce is the nonce of the challenge that was seen last in the claim, this hub's own or another's,
	// and At when it was seen first.
	Nonce string
	At    time.Time
	// Now is the time, and Grace how long a holder has to answer.
	Now   time.Time
	Grace time.Duration
}

// claimDecision is what to do about a claim.
type claimDecision int

const (
	claimKeep      claimDecision = iota // it stands
	claimTake                           // write it
	claimChallenge                      // challenge its holder
	claimWait                           // for the answer
	claimRefuse                         // its holder works
)

// decide decides about the claim on a cluster; nil for one without. A hub of another identity is refused
// before. The claim of another instance, or of this one when another process seems to work there, is
// challenged: a holder that works answers and keeps it. One that does not answer in the grace has lost
// it. What a user ordered to give way gives way.
func (h Holder) decide(c *claim, q Contest) claimDecision {
	switch {
	case c == nil || h.Instance != "" && c.instance == "":
		return claimTake // none, or one of an earlier version
	case h.Instance == "":
		return claimKeep
	case h.TakeOver != "" && !h.holds(c.instance) && h.TakeOver == c.instance:
		return claimTake
	case h.holds(c.instance) && !q.Suspect && h.shares(c) && h.waitsFor(c, q):
		return claimWait
	case h.holds(c.instance) && !q.Suspect:
		return claimKeep // and answer, if there is something to answer
	}
	expired := q.Nonce == c.challenge.Nonce && q.Now.Sub(q.At) >= q.Grace
	switch own := c.challenge.Process == h.Process; {
	case c.challenge.Nonce == "":
		return claimChallenge
	case !own && h.waitsFor(c, q):
		return claimWait
	case !own:
		return claimChallenge
	case !c.pending() && h.TakeOver != "" && h.TakeOver == c.by:
		return claimTake
	case !c.pending() && q.Now.Sub(q.At) >= rechallengeAfter*q.Grace:
		return claimChallenge
	case !c.pending():
		return claimRefuse
	case !expired:
		return claimWait
	case h.holds(c.instance):
		return claimKeep
	}
	return claimTake
}

// rechallengeAfter is after how many times the grace a holder that has answered is asked again.
const rechallengeAfter = 60

// waitsFor reports whether an older process has asked for the claim and may be about to take it. One that
// does not come back to it in some graces has died.
func (h Holder) waitsFor(c *claim, q Contest) bool {
	return c.pending() && c.challenge.Process != h.Process && c.challenge.olderThan(h) &&
		(q.Nonce != c.challenge.Nonce || q.Now.Sub(q.At) < staleChallenge*q.Grace)
}

// ClaimState is what a holder finds when its claim has changed.
type ClaimState int

// Standings.
const (
	// Stands: the claim is this hub's.
	ClaimStands ClaimState = iota
	// Gone: there is none any more.
	ClaimGone
	// Displaced: another hub, or another instance of this one, has it.
	ClaimTaken
	// Yielded: an older process of the same instance works on the cluster.
	ClaimYielded
)

// answer decides what a holder that works finds in its claim, and whether it must write an answer.
func (h Holder) answer(c *claim) (ClaimState, bool) {
	switch {
	case c == nil:
		return ClaimGone, false
	case c.hub != h.Hub || !h.holds(c.instance):
		return ClaimTaken, false
	case !c.pending() || c.challenge.Process == h.Process:
		return ClaimStands, false
	case h.shares(c) && c.challenge.olderThan(h):
		return ClaimYielded, false
	}
	return ClaimStands, true
}

// ContestedError means that another hub of the same identity holds the claim on a cluster, or may.
type ContestedError struct {
	// Holder is what a person names to let this hub take over.
	Holder string
	// Nonce of the challenge that is waited for.
	Nonce string
	// Waiting means that the answer is still waited for.
	Waiting bool
	// Suspect means that it is a process of the same instance.
	Suspect bool
}

func (e *ContestedError) Error() string {
	if e.Waiting {
		return "another hub of this identity was here, and is asked whether it still works: " + e.Holder
	}
	return "another hub of this identity works here"
}
