package fleetsim

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// ending is what is left of a story on an edge, and what it took to get there.
type ending struct {
	Objects          map[string]string
	Created, Deleted int
}

// liveThrough tells what an edge goes through: it joins, gets a first bundle, is changed by hand, and gets two others, of
// which one drops an object and has a new one.
func liveThrough(w *bubble) ending {
	w.t.Helper()
	s := w.sites[0]
	ready := func() bool { return w.hub.ready(s.key) }
	s.decide(1)
	s.start()
	w.until("on the first bundle", time.Hour, ready)
	s.edit("part-1", "by hand")
	w.until("what was changed by hand is put back", time.Hour, func() bool { return maps.Equal(s.configMaps(), s.wants(1)) })
	for _, n := range []int{2, 5} {
		s.decide(n)
		w.until(fmt.Sprint("on bundle ", n), time.Hour, ready)
	}
	time.Sleep(2 * time.Minute) // what is still under way would show
	o := ending{Objects: s.configMaps()}
	o.Created, o.Deleted = s.counts()
	return o
}

// TestKilledAtEveryWriteAndMessage: the agent or the hub is killed at each message of the link, those of the handshakes
// too, and at each write to the edge, before or after it has arrived, and often once more soon after. What comes of it is
// the same, and as many objects were made and deleted. What the disk has of a write that is under way is held by the
// tests of the disk.
func TestKilledAtEveryWriteAndMessage(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	steps, want := 0, ending{}
	inBubble(t, 1, func(w *bubble) {
		w.pass = func(*site) verdict {
			mu.Lock()
			defer mu.Unlock()
			steps++
			return verdict{}
		}
		want = liveThrough(w)
	})
	if diff := cmp.Diff(ending{map[string]string{"mark": "5", "part-2": "1", "part-0": "1"}, 4, 1}, want); diff != "" || steps < 50 {
		t.Fatalf("undisturbed, with %d steps (-want +got):\n%s", steps, diff)
	}
	for step := 1; step <= steps; step++ {
		t.Run(fmt.Sprintf("step=%d", step), func(t *testing.T) {
			inBubble(t, 1, func(w *bubble) {
				killAt(w, rand.New(rand.NewPCG(12, uint64(step))), step)
				if diff := cmp.Diff(want, liveThrough(w)); diff != "" {
					t.Errorf("(-undisturbed +killed):\n%s", diff)
				}
			})
		})
	}
}

// killAt kills a process at a step, which the random numbers choose, and maybe again at one of the next.
func killAt(w *bubble, r *rand.Rand, step int) {
	plan := map[int]int{step: r.IntN(4)}
	if r.IntN(2) == 0 {
		plan[step+1+r.IntN(20)] = r.IntN(4)
	}
	var mu sync.Mutex
	n := 0
	w.pass = func(s *site) verdict {
		mu.Lock()
		defer mu.Unlock()
		n++
		how, killed := plan[n]
		if !killed {
			return verdict{}
		}
		return verdict{lost: how&1 == 0, then: func() {
			if how&2 == 0 {
				s.restart()
				return
			}
			w.hub.kill()
			w.hub.start()
		}}
	}
}

// TestThreeDaysWithoutTheHub: drift is put back at once all the time, and within seconds after the agent, its API server
// or the whole site were away; nothing is made or deleted that nobody deleted, whatever the hub has decided meanwhile;
// and when the link is back, the edge gets what was decided last, and tells in order what has happened.
func TestThreeDaysWithoutTheHub(t *testing.T) {
	t.Parallel()
	inBubble(t, 1, func(w *bubble) {
		s, r := w.sites[0], rand.New(rand.NewPCG(12, 3))
		s.decide(1)
		s.start()
		w.until("on the first bundle", time.Minute, func() bool { return w.hub.ready(s.key) })
		s.edge.ForgetWrites()
		s.link.cut()
		decided, gone, edits, created, deleted := 1, 0, 0, 0, 0
		names := []string{"mark", "part-1", "part-2"}
		for end := time.Now().Add(72 * time.Hour); time.Now().Before(end); {
			time.Sleep(30*time.Minute + time.Duration(r.IntN(60))*time.Minute)
			name, limit := names[r.IntN(len(names))], 10*time.Second
			switch r.IntN(6) {
			case 0:
				s.restart()
			case 1: // the API server is away
				s.api.cut()
				s.edit(name, "while it was away")
				time.Sleep(time.Duration(1+r.IntN(60)) * time.Minute)
				s.api.heal()
			case 2: // the whole site is
				s.kill()
				s.api.cut()
				time.Sleep(time.Duration(1+r.IntN(60)) * time.Minute)
				s.edit(name, "while nobody looked")
				s.api.heal()
				s.start()
			case 3:
				s.mustAsk(http.MethodDelete, mapsPath+"/"+name, nil)
				gone++
			case 4:
				decided++
				s.decide(decided)
			default:
				limit = time.Second
			}
			if code, _ := s.ask(http.MethodGet, mapsPath+"/"+name, nil); code == http.StatusOK {
				s.edit(name, fmt.Sprint("by hand ", edits))
				edits++
			}
			took := w.until("what was changed by hand is put back", limit, func() bool { return maps.Equal(s.configMaps(), s.wants(1)) })
			t.Logf("put back after %s", took)
			made, removed := s.counts() // the edge does not remember all that was written in three days
			created, deleted = created+made, deleted+removed
			s.edge.ForgetWrites()
		}
		if created != gone || deleted != 0 {
			t.Errorf("cut off, %d objects were made and %d deleted, after %d were deleted by hand", created, deleted, gone)
		}
		if w.hub.ready(s.key) {
			t.Error("an edge that is silent is called ready")
		}
		s.link.heal()
		w.until("on what was decided last", 10*time.Minute, func() bool { return w.hub.ready(s.key) && maps.Equal(s.configMaps(), s.wants(decided)) })
		told := strings.Join(w.hub.told(v1alpha1.DriftCorrectedReason), "\n")
		if n := len(w.hub.told(v1alpha1.DriftCorrectedReason)); n < edits {
			t.Errorf("%d corrections are told of %d edits:\n%s", n, edits, told)
		}
	})
}

// TestTwoHundredAgentsUnderPartitions: links are cut, half-open and slow, agents and the hub are killed, API servers are
// away, and all the while the hub decides, and undoes. No edge applies or reports what was not assigned to it, or comes
// back to an earlier bundle without an undo (the bubble sees to it); and in the end all are on what was decided last.
func TestTwoHundredAgentsUnderPartitions(t *testing.T) {
	inBubble(t, 200, func(w *bubble) {
		r := rand.New(rand.NewPCG(12, 200))
		decided := map[*site]int{}
		ready := func() bool {
			for _, s := range w.sites {
				if !w.hub.ready(s.key) {
					return false
				}
			}
			return true
		}
		for _, s := range w.sites {
			decided[s] = 1 + r.IntN(10)
			s.decide(decided[s])
			s.start()
		}
		w.until("all are on their first bundle", 10*time.Minute, ready)
		for round := range 12 {
			for _, s := range w.sites {
				disturb(s, r)
				switch r.IntN(8) {
				case 0:
					decided[s]++
					s.decide(decided[s])
				case 1:
					decided[s] = max(1, decided[s]-1-r.IntN(2))
					s.decide(decided[s])
				}
			}
			if round%5 == 2 {
				w.hub.kill()
				w.hub.start()
			}
			time.Sleep(time.Duration(5+r.IntN(30)) * time.Second)
		}
		for _, s := range w.sites {
			s.link.heal()
			s.api.heal()
		}
		w.until("all are on what was decided last", 15*time.Minute, ready)
		for _, s := range w.sites {
			if diff := cmp.Diff(s.wants(decided[s]), s.configMaps()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", s.edge.Name, diff)
			}
		}
	})
}

// disturb lets something happen to a site, or be over.
func disturb(s *site, r *rand.Rand) {
	switch r.IntN(20) {
	case 0, 1:
		s.link.cut()
	case 2:
		s.link.halfOpen()
	case 3:
		s.link.slow(time.Duration(r.IntN(2000)) * time.Millisecond)
	case 4, 5, 6, 7, 8:
		s.link.heal()
	case 9:
		s.link.reset()
	case 10:
		s.restart()
	case 11:
		s.api.cut()
	case 12, 13, 14:
		s.api.heal()
	}
}

// TestASecondAgentOnACluster waits, without a word to the hub, until the first is gone, and then takes over.
func TestASecondAgentOnACluster(t *testing.T) {
	inBubble(t, 1, func(w *bubble) {
		s := w.sites[0]
		s.decide(1)
		s.start()
		w.until("on the first bundle", time.Minute, func() bool { return w.hub.ready(s.key) })
		second := s.beside("pod-2")
		second.start()
		for range 100 {
			time.Sleep(10 * time.Second)
			if second.link.connections() > 0 {
				t.Fatal("the second agent speaks to the hub while the first works")
			}
		}
		s.kill() // it does not give its lease back
		s.edit("mark", "by hand")
		w.until("the second puts back what was changed", 2*time.Minute, func() bool { return maps.Equal(s.configMaps(), s.wants(1)) })
		s.start() // and now the first is the second
		second.decide(2)
		w.until("on the next bundle, by the second", time.Minute, func() bool { return w.hub.ready(s.key) && maps.Equal(s.configMaps(), s.wants(2)) })
		if s.link.connections() > 0 {
			t.Error("both speak to the hub")
		}
	})
}

// TestAnEdgeThatIsRestoredFromABackup is brought back to what is assigned now, whatever its own inventory says, with the
// agent's disk of today or without one.
func TestAnEdgeThatIsRestoredFromABackup(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("disk-lost=%t", lost), func(t *testing.T) {
			inBubble(t, 1, func(w *bubble) {
				s := w.sites[0]
				s.decide(1)
				s.start()
				ready := func() bool { return w.hub.ready(s.key) }
				w.until("on the first bundle", time.Minute, ready)
				before := s.edge.backup()
				s.decide(2)
				w.until("on the second bundle", time.Minute, ready)
				s.kill()
				s.edge.recall(before)
				w.hub.orders[s.key].restored = true
				s.edge.ForgetWrites()
				if lost {
					s.loseDisk()
				}
				s.start()
				w.until("as it is to be", time.Minute, func() bool { return ready() && maps.Equal(s.configMaps(), s.wants(2)) })
				if created, deleted := s.counts(); created != 1 || deleted != 1 {
					t.Errorf("%d objects were made and %d deleted, and not the one that came new and the one that went", created, deleted)
				}
			})
		})
	}
}

// TestAClonedEdge: the hub names that two agents have one key. Neither deletes anything, and when the one that the hub
// speaks to has gone, the other goes on.
func TestAClonedEdge(t *testing.T) {
	inBubble(t, 1, func(w *bubble) {
		s := w.sites[0]
		s.decide(1)
		s.start()
		w.until("on the first bundle", time.Minute, func() bool { return w.hub.ready(s.key) })
		c := s.clone()
		c.edge.ForgetWrites()
		s.edge.ForgetWrites()
		c.start()
		reason := func() string { state, _ := w.hub.life().gateway.State(s.key); return state.Reason }
		w.until("it is named", 10*time.Minute, func() bool { return reason() == v1alpha1.DuplicateAgentReason })
		c.edit("mark", "by hand")
		s.edit("mark", "by hand")
		time.Sleep(time.Hour)
		for _, one := range []*site{s, c} {
			if created, deleted := one.counts(); created+deleted != 0 {
				t.Errorf("%s: %d objects were made and %d deleted", one.edge.Name, created, deleted)
			}
			if diff := cmp.Diff(s.wants(1), one.configMaps()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", one.edge.Name, diff)
			}
		}
		c.kill()
		s.decide(2)
		w.until("the other goes on", time.Hour, func() bool { return w.hub.ready(s.key) && maps.Equal(s.configMaps(), s.wants(2)) && reason() == "" })
	})
}

// TestAnAgentWithoutADisk works from memory, also while it is cut off, and says so; when the disk is back, it goes on
// from it.
func TestAnAgentWithoutADisk(t *testing.T) {
	inBubble(t, 1, func(w *bubble) {
		s := w.sites[0]
		disk := s.folder(0)
		if err := errors.Join(os.MkdirAll(filepath.Dir(disk), 0o700), os.WriteFile(disk, nil, 0o600)); err != nil { // a file in its place
			t.Fatal(err)
		}
		reason := func() string { state, _ := w.hub.life().gateway.State(s.key); return state.Agent.DiskReason }
		s.decide(1)
		s.start()
		w.until("on the first bundle", time.Minute, func() bool { return w.hub.ready(s.key) })
		w.until("the disk is named", time.Minute, func() bool { return reason() == v1alpha1.AgentDiskFailedReason })
		s.decide(2)
		w.until("on the second bundle", time.Minute, func() bool { return w.hub.ready(s.key) && maps.Equal(s.configMaps(), s.wants(2)) })
		putBack := func() bool { return maps.Equal(s.configMaps(), s.wants(2)) }
		s.link.cut()
		time.Sleep(time.Hour)
		s.edit("mark", "by hand")
		w.until("what was changed is put back", time.Second, putBack)
		if err := os.Remove(disk); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		s.restart() // still cut off
		s.edit("mark", "by hand again")
		w.until("what was changed is put back, from the disk", 10*time.Second, putBack)
		s.link.heal()
		w.until("the disk is well", 10*time.Minute, func() bool { return w.hub.ready(s.key) && reason() == "" })
	})
}

// TestAHalfWrittenDisk is noticed, whichever record it is: without the hub nothing is deleted or made, and with it the
// edge gets what it is to have.
func TestAHalfWrittenDisk(t *testing.T) {
	for record := range 3 {
		t.Run(fmt.Sprintf("record=%d", record), func(t *testing.T) {
			inBubble(t, 1, func(w *bubble) {
				s := w.sites[0]
				s.decide(1)
				s.start()
				w.until("on the first bundle", time.Minute, func() bool { return w.hub.ready(s.key) })
				s.edit("mark", "by hand") // an event, so that there is a journal
				time.Sleep(10 * time.Second)
				s.kill()
				s.link.cut()
				s.halve(record)
				s.edge.ForgetWrites()
				s.start()
				time.Sleep(time.Hour)
				if created, deleted := s.counts(); created+deleted > 0 {
					t.Errorf("%d objects were made and %d deleted", created, deleted)
				}
				s.decide(2)
				s.link.heal()
				w.until("on the second bundle", 10*time.Minute, func() bool { return w.hub.ready(s.key) && maps.Equal(s.configMaps(), s.wants(2)) })
				w.until("the damage is told", time.Minute, func() bool { return len(w.hub.told(v1alpha1.AgentDiskDamagedReason)) > 0 })
			})
		})
	}
}

// halve cuts one of the records of an agent that does not run in half.
func (s *site) halve(record int) {
	s.w.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	files, err := filepath.Glob(filepath.Join(s.current.dir, "*.rec"))
	if err != nil || len(files) != 3 { // assignment, bundle, journal
		s.w.t.Fatalf("records %v, %v", files, err)
	}
	info, err := os.Stat(files[record])
	if err == nil {
		err = os.Truncate(files[record], info.Size()/2)
	}
	if err != nil {
		s.w.t.Fatal(err)
	}
}
