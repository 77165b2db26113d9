package engine

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr/funcr"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// The log names cluster and Kustomization, has a line for each session and each pass that did something,
// and shows no value; passes that changed nothing are for those who look closer.
func TestTheEngineLogsSessionsAndPasses(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	var passes []PassResult
	var breaker []BreakerState
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.options = func(o *PoolOptions) {
		o.Log = funcr.New(func(_, args string) { mu.Lock(); defer mu.Unlock(); lines = append(lines, args) }, funcr.Options{Verbosity: 1})
		o.OnPass = func(p PassResult) { mu.Lock(); defer mu.Unlock(); passes = append(passes, p) }
		o.OnBreaker = func(_ Key, s BreakerState) { mu.Lock(); defer mu.Unlock(); breaker = append(breaker, s) }
	}
	r.pool.Disconnect(r.key)
	r.connect(controlplane.Shared(t).RESTConfig())
	r.want("apps", r.namespace()+r.configMap("cm", "swordfish"))
	r.ready("apps")
	r.edit("cm", "marlin")
	r.until("apps", "corrected", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Drift == 1 })
	r.change("apps", func(e *v1alpha1.AssignmentEntry) { e.RequestedAt = "now" })
	r.until("apps", "verified", func(s v1alpha1.AssignmentEntryStatus) bool { return s.HandledAt == "now" })
	r.pool.Disconnect(r.key)

	mu.Lock()
	defer mu.Unlock()
	log := strings.Join(lines, "\n")
	cluster, ks := `"cluster"="`+r.key.String()+`"`, `"kustomization"="`+r.key.Namespace+`/apps"`
	for what, parts := range map[string][]string{
		"a session":                {`"level"=0 "msg"="connected"`, cluster, `"version"=`},
		"the breaker":              {`"level"=1 "msg"="circuit breaker"`, cluster, `"state"="half open"`},
		"a pass that begins":       {`"level"=1 "msg"="pass begins"`, cluster, ks, `"why"="assigned"`},
		"a pass that applied":      {`"level"=0 "msg"="pass ended"`, cluster, ks, `"applied"=2`, `"duration"=`},
		"a pass that put back":     {`"level"=0 "msg"="pass ended"`, cluster, ks, `"applied"=1`, `"drift"=1`},
		"a pass without a change":  {`"level"=1 "msg"="pass ended"`, cluster, ks, `"applied"=0`},
		"why the pass was begun":   {`"msg"="pass begins"`, `"why"="object changed"`},
		"the breaker that is shut": {`"msg"="circuit breaker"`, `"state"="closed"`},
	} {
		if !slices.ContainsFunc(lines, func(line string) bool {
			return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) })
		}) {
			t.Errorf("no line for %s", what)
		}
	}
	if t.Failed() || strings.Contains(log, "swordfish") || strings.Contains(log, "marlin") {
		t.Errorf("the log:\n%s", log)
	}
	applied, drift := 0, 0
	for _, p := range passes {
		applied, drift = applied+p.Applied, drift+p.Drift
		if p.Kustomization.Name != "apps" || p.Cluster != r.key || p.Duration <= 0 || p.Failed {
			t.Errorf("%+v", p)
		}
	}
	if applied != 3 || drift != 1 {
		t.Errorf("%d applied, %d put back: %+v", applied, drift, passes)
	}
	if want := []BreakerState{machine.Open, machine.HalfOpen, machine.Closed}; !slices.Equal(breaker[:min(3, len(breaker))], want) {
		t.Errorf("the breaker was %v", breaker)
	}
}
