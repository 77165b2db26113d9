package engine

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
)

// TestDriftLoopStories plays the changes of each file: "N times, every DURATION, by MANAGER" changes one
// object N times, each time so long after its last correction, or once its correction is not held any
// more. The log has a line for each correction.
func TestDriftLoopStories(t *testing.T) {
	golden.Run(t, "testdata/drift/*.txtar", func(t *testing.T, ar *txtar.Archive) map[string]string {
		id := object.ID{Kind: "ConfigMap", Namespace: "web", Name: "settings"}
		en := &entry{Entry: &machine.Entry{}, loops: map[object.ID]*loop{}}
		start := time.Unix(0, 0)
		now := start
		var log strings.Builder
		changes := bufio.NewScanner(bytes.NewReader([]byte(golden.Text(ar, "changes"))))
		for changes.Scan() {
			var n int
			var every, by string
			if _, err := fmt.Sscanf(changes.Text(), "%d times, every %s by %s", &n, &every, &by); err != nil {
				t.Fatalf("%q: %v", changes.Text(), err)
			}
			gap, err := time.ParseDuration(strings.TrimSuffix(every, ","))
			if err != nil {
				t.Fatal(err)
			}
			for range n {
				now = now.Add(gap)
				if en.held(now)[id] {
					now = en.nextRelease(now)
				}
				c := correction{id: id, by: by, interactive: interactive([]string{by})}
				if by == "unknown" {
					c.by, c.interactive = "", false
				}
				en.count([]correction{c}, now)
				l := en.loops[id]
				fmt.Fprintf(&log, "%8s corrected", now.Sub(start))
				if l.looping() {
					fmt.Fprintf(&log, ", DriftLoop%s, the next not before %s", l.byManager(), l.until.Sub(start))
				}
				log.WriteString("\n")
			}
		}
		en.count(nil, now.Add(time.Hour))
		if len(en.loops) != 0 {
			t.Error("a loop does not end")
		}
		return map[string]string{"log": log.String()}
	})
}

func TestInteractiveManagers(t *testing.T) {
	for managers, want := range map[string]bool{
		"kubectl-edit": true, "kubectl": true, "Mozilla": true, "k9s": true, "oc": true, "oc-edit": true, "kubectl-patch,k9s": true,
		"": false, "octopus": false, "their-operator": false, "kubectl-edit,their-operator": false, "kube-controller-manager": false,
	} {
		var list []string
		if managers != "" {
			list = strings.Split(managers, ",")
		}
		if got := interactive(list); got != want {
			t.Errorf("interactive(%q) = %v", managers, got)
		}
	}
}

// What a pass changes comes back through the watch, and is no reason for another pass. What something else changes during
// a pass is.
func TestAPassIsNotRepeatedForItsOwnChanges(t *testing.T) {
	var mu sync.Mutex
	again := 0
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.options = func(o *PoolOptions) {
		o.Log = funcr.New(func(_, args string) {
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(args, `"why"="object changed"`) {
				again++
			}
		}, funcr.Options{Verbosity: 1})
	}
	r.pool.Disconnect(r.key)
	r.connect(controlplane.Shared(t).RESTConfig())
	for _, n := range []int{3, maxChanged + 10} {
		r.want("apps", many(r, n, "one"))
		r.ready("apps")
		requested := fmt.Sprintf("after %d", n)
		r.change("apps", func(e *v1alpha1.AssignmentEntry) { e.RequestedAt = requested })
		r.until("apps", "verified", func(s v1alpha1.AssignmentEntryStatus) bool { return s.HandledAt == requested })
		mu.Lock()
		if again > 0 {
			t.Errorf("%d passes more for %d objects that a pass has applied", again, n)
		}
		mu.Unlock()
	}
	var once sync.Once
	r.after = func(*http.Request) { once.Do(func() { r.edit("cm-1", "by hand") }) }
	r.want("apps", many(r, maxChanged+10, "two"))
	r.eventually("what was edited during the pass is put back", func() bool { return r.value("cm-1") == "two" })
}
