package agent

import (
	"encoding/base64"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

// connected starts an agent, and waits until it has reported.
func connected(t *testing.T) (*hub, *site) {
	t.Helper()
	h := startHub(t, longAgo)
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "connected", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.ups) > 0 })
	return h, e
}

// finalizations returns the answers of the agent: request, and error.
func (h *hub) finalizations() [][2]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all [][2]string
	for _, up := range h.ups {
		if up.Finalized != "" || up.FinalizeError != "" {
			all = append(all, [2]string{up.Finalized, up.FinalizeError})
		}
	}
	return all
}

// TestAFinalizationEndsTheAgentWhateverBecomesOfTheAnswer: the hub has it and lets the Cluster go, and the agent does
// not hear that.
func TestAFinalizationEndsTheAgentWhateverBecomesOfTheAnswer(t *testing.T) {
	for name, answer := range map[string]func(*hub, http.ResponseWriter, *http.Request) bool{
		"the stream ends first": func(h *hub, _ http.ResponseWriter, r *http.Request) bool {
			h.forget()
			h.down <- link.Down{GoAway: &link.GoAway{Reason: link.GoAwayElsewhere}}
			<-r.Context().Done()
			return true
		},
		"the key is revoked first": func(h *hub, _ http.ResponseWriter, r *http.Request) bool {
			h.down <- link.Down{GoAway: &link.GoAway{Reason: link.GoAwayRevoked, RetryAfter: 60}}
			<-r.Context().Done()
			return true
		},
		"the link goes": func(h *hub, _ http.ResponseWriter, _ *http.Request) bool {
			h.forget()
			panic(http.ErrAbortHandler)
		},
		"the session is not known any more": func(h *hub, w http.ResponseWriter, _ *http.Request) bool {
			h.forget()
			w.WriteHeader(http.StatusUnauthorized)
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, e := connected(t)
			h.mu.Lock()
			h.onReport = func(w http.ResponseWriter, r *http.Request, up link.Up) bool {
				return up.Finalized != "" && answer(h, w, r)
			}
			h.mu.Unlock()
			h.down <- h.finalize(2, "f1")
			e.awaitFinalized()
			if n := e.pool().finalized; n != 1 {
				t.Errorf("finalized %d times", n)
			}
		})
	}
}

// TestAHubThatAsksAgainIsAnsweredAgain: it was started anew before it got the answer. The engine has nothing to do with
// that any more, or it would put down its claim again.
func TestAHubThatAsksAgainIsAnsweredAgain(t *testing.T) {
	h, e := connected(t)
	var lost atomic.Bool
	h.mu.Lock()
	h.onReport = func(_ http.ResponseWriter, _ *http.Request, up link.Up) bool {
		if up.Finalized == "f1" {
			lost.Store(true)
			panic(http.ErrAbortHandler)
		}
		return false
	}
	h.mu.Unlock()
	h.down <- h.finalize(2, "f1")
	eventually(t, "the session after", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return lost.Load() && len(h.hellos) > 1 })
	eventually(t, "the cluster can be worked on", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, up := range slices.Backward(h.ups) {
			if up.State != nil { // a report of what was received, which may follow at once, has none
				return up.Finalized == "" && up.State.Usable && up.State.UID == "edge-uid" && up.State.Version == "" // not the engine's
			}
		}
		return false
	})
	h.down <- h.finalize(2, "f2")
	eventually(t, "the second request is answered", func() bool { return slices.Contains(h.finalizations(), [2]string{"f2", ""}) })
	h.letGo()
	e.awaitFinalized()
	if p := e.pool(); p.finalized != 1 || !p.stopped || len(e.pools) != 1 {
		t.Errorf("finalized %d times, stopped: %t, %d engines", p.finalized, p.stopped, len(e.pools))
	}
}

// TestAnAgentThatIsKilledAfterAFinalizationDoesNotBeginAnew: it ends once the hub does not know it.
func TestAnAgentThatIsKilledAfterAFinalizationDoesNotBeginAnew(t *testing.T) {
	h, e := connected(t)
	told := make(chan struct{})
	h.mu.Lock()
	h.onReport = func(_ http.ResponseWriter, r *http.Request, up link.Up) bool {
		if up.Finalized == "" {
			return false
		}
		close(told)
		<-r.Context().Done()
		return true
	}
	h.mu.Unlock()
	h.down <- h.finalize(2, "f1")
	<-told
	e.stop()
	e.pools = nil
	h.mu.Lock()
	h.refuse = &link.GoAway{Reason: link.GoAwayStopping} // the hub is busy with something else
	sessions := h.sessions
	h.mu.Unlock()
	e.start()
	eventually(t, "it tries", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.sessions > sessions })
	h.forget()
	e.awaitFinalized()
	if p := e.pool(); p != nil {
		t.Error("the engine worked on a cluster that is removed")
	}
}

// TestAHubThatWasRestoredHasItsClusterBack: its backup knows nothing of the removal.
func TestAHubThatWasRestoredHasItsClusterBack(t *testing.T) {
	h, e := connected(t)
	h.assign(entryOf("apps", h.bundle(configMap("a", "1"))))
	h.mu.Lock()
	h.onReport = func(_ http.ResponseWriter, _ *http.Request, up link.Up) bool {
		if up.Finalized != "" {
			panic(http.ErrAbortHandler)
		}
		return false
	}
	h.mu.Unlock()
	h.down <- h.finalize(2, "f1")
	eventually(t, "apps is ready", h.reported("apps", "Ready"))
	if s := e.api.secret(t, agentName); len(s.Data[finalizedField]) != 0 {
		t.Error("the finalization is not forgotten")
	}
	e.stop()
	e.pools = nil
	e.start()
	if e.pool() == nil {
		t.Error("after a restart the engine does not begin")
	}
}

// TestAFinalizationThatFailedIsNamedAndCarriedOutLater.
func TestAFinalizationThatFailedIsNamedAndCarriedOutLater(t *testing.T) {
	h, e := connected(t)
	p := e.pool()
	p.mu.Lock()
	p.refuse = engine.ErrNotRemoved
	p.mu.Unlock()
	h.down <- h.finalize(2, "f1")
	eventually(t, "the failure is told", func() bool { return len(h.finalizations()) == 1 })
	h.down <- h.finalize(3, "f2")
	eventually(t, "the same failure of another request is told", func() bool { return len(h.finalizations()) == 2 })
	p.mu.Lock()
	p.refuse = nil
	p.mu.Unlock()
	h.down <- h.finalize(4, "f3")
	h.letGo()
	e.awaitFinalized()
	want := [][2]string{{"f1", engine.ErrNotRemoved.Error()}, {"f2", engine.ErrNotRemoved.Error()}, {"f3", ""}}
	got := h.finalizations()
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("told %v, want %v", got, want)
	}
}

// TestARemovalThatTheHubDidNotSignIsRefused: an ingress that terminates TLS can make up frames.
func TestARemovalThatTheHubDidNotSignIsRefused(t *testing.T) {
	h, e := connected(t)
	unsigned := h.finalize(2, "f1")
	unsigned.FinalizeSignature = nil
	other := h.finalize(3, "f2")
	other.Finalize = "f3"
	h.mu.Lock()
	bound := h.bound
	h.bound = make([]byte, len(bound)) // an earlier agent of the Cluster
	h.mu.Unlock()
	earlier := h.finalize(4, "f4")
	h.mu.Lock()
	h.bound = bound
	h.mu.Unlock()
	for i, forged := range []link.Down{unsigned, other, earlier} {
		h.down <- forged
		eventually(t, "the refusal is told", func() bool { return len(h.finalizations()) == i+1 })
	}
	for _, answer := range h.finalizations() {
		if answer[1] != errFinalizeNotSigned.Error() {
			t.Errorf("answer %v", answer)
		}
	}
	if e.pool().finalized != 0 || e.p.isFinalized() {
		t.Error("a removal that the hub did not sign was carried out")
	}
}

// TestAFinalizationThatCannotBeWrittenDownIsNotReported: after a restart the agent would not know of it.
func TestAFinalizationThatCannotBeWrittenDownIsNotReported(t *testing.T) {
	h, e := connected(t)
	e.api.mu.Lock()
	e.api.refuse = func(r *http.Request) bool { return r.Method == http.MethodPut }
	e.api.mu.Unlock()
	h.down <- h.finalize(2, "f1")
	eventually(t, "the failure is told", func() bool { return len(h.finalizations()) == 1 })
	if got := h.finalizations()[0]; got[1] == "" {
		t.Errorf("answer %v", got)
	}
	e.api.mu.Lock()
	e.api.refuse = nil
	e.api.mu.Unlock()
	h.down <- h.finalize(3, "f2")
	h.letGo()
	e.awaitFinalized()
}

// TestAHubThatIsKilledBeforeItLetsTheClusterGoAsksAgain: it has acknowledged the answer, and knows nothing of it when it
// is back.
func TestAHubThatIsKilledBeforeItLetsTheClusterGoAsksAgain(t *testing.T) {
	h, e := connected(t)
	h.down <- h.finalize(2, "f1")
	eventually(t, "the removal is told", func() bool { return len(h.finalizations()) == 1 })
	h.down <- link.Down{GoAway: &link.GoAway{Reason: link.GoAwayStopping}}
	eventually(t, "the agent is back", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.hellos) == 2 })
	h.down <- h.finalize(2, "f2")
	eventually(t, "the removal is told again", func() bool { return len(h.finalizations()) == 2 })
	h.letGo()
	e.awaitFinalized()
}

// TestAHubThatRefusesAProofOnceAsksAgain: the challenge was that of the process before, or the proof took too long.
func TestAHubThatRefusesAProofOnceAsksAgain(t *testing.T) {
	h, e := connected(t)
	h.down <- h.finalize(2, "f1")
	eventually(t, "the removal is told", func() bool { return len(h.finalizations()) == 1 })
	h.mu.Lock()
	h.slow = unknownKeyLimit - 1
	h.mu.Unlock()
	h.down <- link.Down{GoAway: &link.GoAway{Reason: link.GoAwayStopping}}
	eventually(t, "the agent is back", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.hellos) == 2 })
	h.down <- h.finalize(2, "f2")
	eventually(t, "the removal is told again", func() bool { return len(h.finalizations()) == 2 })
	h.letGo()
	e.awaitFinalized()
}

// TestAFinalizationIsWrittenDownWhereTheSecretWasLabelled: a policy engine or a person may do that at any time.
func TestAFinalizationIsWrittenDownWhereTheSecretWasLabelled(t *testing.T) {
	h, e := connected(t)
	path := "/api/v1/namespaces/skerry-system/secrets/" + agentName
	e.api.mu.Lock()
	_ = unstructured.SetNestedField(e.api.objects[path], "x", "metadata", "labels", "team")
	e.api.put(path, e.api.objects[path])
	e.api.mu.Unlock()
	h.down <- h.finalize(2, "f1")
	eventually(t, "the removal is told", func() bool { return len(h.finalizations()) == 1 })
	if got := h.finalizations()[0]; got[1] != "" {
		t.Fatalf("answer %v", got)
	}
	if s := e.api.secret(t, agentName); s.Labels["team"] != "x" || len(s.Data[finalizedField]) == 0 {
		t.Errorf("the Secret has labels %v and %d fields", s.Labels, len(s.Data))
	}
	h.letGo()
	e.awaitFinalized()
}

// TestAHubThatGoesAfterItsAnswerIsNotAwaitedForEver.
func TestAHubThatGoesAfterItsAnswerIsNotAwaitedForEver(t *testing.T) {
	h, e := connected(t)
	h.down <- h.finalize(2, "f1")
	eventually(t, "the hub has the answer", func() bool { e.p.mu.Lock(); defer e.p.mu.Unlock(); return !e.p.acknowledgedAt.IsZero() })
	e.p.setAcknowledged(time.Now().Add(-releaseTimeout))
	h.stop()
	e.awaitFinalized()
}

// TestAHubThatGoesAfterItsAnswerIsNotAwaitedByARestart: what the hub has acknowledged outlives the process.
func TestAHubThatGoesAfterItsAnswerIsNotAwaitedByARestart(t *testing.T) {
	h, e := connected(t)
	h.down <- h.finalize(2, "f1")
	eventually(t, "that the hub has the answer is written down", func() bool { return len(e.api.secret(t, agentName).Data[acknowledgedField]) > 0 })
	e.stop()
	h.stop()
	e.api.mu.Lock()
	path := "/api/v1/namespaces/skerry-system/secrets/" + agentName
	early := base64.StdEncoding.EncodeToString([]byte(time.Now().Add(-releaseTimeout).UTC().Format(time.RFC3339)))
	_ = unstructured.SetNestedField(e.api.objects[path], early, "data", acknowledgedField)
	e.api.mu.Unlock()
	e.start()
	e.awaitFinalized()
}

// TestTwoFinalizationsAtOnceAreCarriedOutOnce: the hub did not wait for the first any longer, and asks again.
func TestTwoFinalizationsAtOnceAreCarriedOutOnce(t *testing.T) {
	h, e := connected(t)
	p := e.pool()
	goOn := make(chan struct{})
	p.mu.Lock()
	p.finalizes = func() { <-goOn }
	p.mu.Unlock()
	h.down <- h.finalize(2, "f1")
	h.down <- h.finalize(3, "f2")
	eventually(t, "both have arrived", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.ups[len(h.ups)-1].Received == 3
	})
	close(goOn)
	eventually(t, "the second is answered", func() bool { return slices.Contains(h.finalizations(), [2]string{"f2", ""}) })
	h.letGo()
	e.awaitFinalized()
	if p.finalized != 1 {
		t.Errorf("finalized %d times", p.finalized)
	}
}
