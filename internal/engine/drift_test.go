package engine

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
)

// TestDriftLoopStories plays the changes of each file: "N times, every DURATION, by MANAGER" changes one
// object N times, each time so long after its last correction, or once its correction is not held any
// more. The log says when each was corrected.
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
