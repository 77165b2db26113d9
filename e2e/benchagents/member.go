package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/agent"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// member is one agent of many, and its cluster.
type member struct {
	name, token, disk string
	takes             time.Duration
	config            *rest.Config
	api               *edgeAPI // nil for a simulated edge with a real engine

	mu      sync.Mutex // guards what follows
	pools   []*simulatedEdge
	digest  string    // of what is applied and ready
	applied time.Time // when that was first reported
	reports int       // how often there was something new to report
}

func memberName(i int) string { return fmt.Sprintf("edge-%04d", i) }

// newMember makes a cluster whose engine is a stand-in.
func newMember(i int, disks string, takes time.Duration) (*member, error) {
	m := &member{name: memberName(i), token: rand.Text(), disk: filepath.Join(disks, memberName(i)), takes: takes, api: &edgeAPI{}}
	m.config = &rest.Config{Host: "http://" + m.name, Transport: m.api}
	kubeSystem, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": metav1.NamespaceSystem, "uid": "uid-" + m.name}})
	if err != nil {
		return nil, err
	}
	_, err = m.api.keep("/api/v1/namespaces", kubeSystem, true)
	return m, err
}

// simulate puts a simulated edge and a real engine in the place of the stand-ins.
func (m *member) simulate(kubeconfig string) error {
	raw, err := os.ReadFile(kubeconfig)
	if err != nil {
		return err
	}
	m.api = nil
	m.config, err = clientcmd.RESTConfigFromKubeConfig(raw)
	return err
}

// enroll gives the edge what an agent is installed with.
func (m *member) enroll(ctx context.Context, e link.Enrollment) error {
	e.Cluster, e.Token = namespace+"/"+m.name, m.token
	enrollment, err := json.Marshal(e)
	if err != nil {
		return err
	}
	secret, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": link.EnrollmentSecret, "namespace": namespace},
		"data": map[string][]byte{link.EnrollmentKey: enrollment},
	})
	if err != nil {
		return err
	}
	if m.api != nil {
		_, err = m.api.keep("/api/v1/namespaces/"+namespace+"/secrets", secret, true)
		return err
	}
	kube, err := rig.NewKube(m.config)
	if err != nil {
		return err
	}
	return kube.Apply(ctx, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+namespace+"}\n---\n"+string(secret))
}

// run runs the agent until ctx is done.
func (m *member) run(ctx context.Context, log logr.Logger) error {
	o := agent.Defaults()
	o.Config, o.StoragePath, o.HealthAddress, o.Holder, o.NewPool, o.Version, o.Log = m.config, m.disk, "0", m.name, m.newPool, "bench", log
	if err := agent.Run(ctx, o); err != nil {
		return fmt.Errorf("the agent of %s: %w", m.name, err)
	}
	return nil
}

// newPool makes what works on the cluster, and notes what it reports.
func (m *member) newPool(o engine.PoolOptions) engine.Pooled {
	var pool engine.Pooled
	tell := o.OnChange
	o.OnChange = func(key engine.Key) {
		m.note(pool.Report(key))
		tell(key)
	}
	if m.api == nil {
		pool = engine.NewPool(o)
		return pool
	}
	s := &simulatedEdge{o: o, uid: "uid-" + m.name, takes: m.takes}
	pool = s
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pools = append(m.pools, s)
	return pool
}

// note records what the engine reports: when all that is assigned is there and ready.
func (m *member) note(report []v1alpha1.AssignmentEntryStatus, _ bool) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reports++
	if len(report) != 1 || report[0].Ready != metav1.ConditionTrue || report[0].AppliedDigest == m.digest || report[0].Digest != "" {
		return
	}
	m.digest, m.applied = report[0].AppliedDigest, now
}

// reset begins to count reports, and returns the digest that is applied.
func (m *member) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reports, m.applied = 0, time.Time{}
}

// arrived returns when what was assigned since reset was there and ready, and how often there was something new to
// report.
func (m *member) arrived() (at time.Time, reports int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied, m.reports
}

// written returns how many objects the stand-ins would have written.
func (m *member) written() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, s := range m.pools {
		s.mu.Lock()
		n += s.applied
		s.mu.Unlock()
	}
	return n
}

// fetched returns which bundles the agent has on its disk, and when each came there.
func (m *member) fetched() (map[string]time.Time, error) {
	files, err := filepath.Glob(filepath.Join(m.disk, "bundle-*"))
	if err != nil {
		return nil, err
	}
	out := map[string]time.Time{}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return nil, err
		}
		out[f] = info.ModTime()
	}
	return out, nil
}
