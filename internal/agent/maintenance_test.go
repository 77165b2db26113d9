package agent

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/skerry-dev/skerry/internal/agent/disk"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/object"
)

// maintained is an agent that maintains its disk, and how often it has done so.
type maintained struct {
	*agent
	dir    string
	rounds atomic.Int64
}

// startMaintenance has to be called in a bubble of synctest.
func startMaintenance(t *testing.T) *maintained {
	t.Helper()
	m := &maintained{dir: t.TempDir(), agent: &agent{log: logr.Discard(), now: time.Now, reportDue: make(chan struct{}, 1), fetchDue: make(chan struct{}, 1)}}
	m.openDisk(m.dir, testKey(t))
	m.now = func() time.Time { m.rounds.Add(1); return time.Now() }
	m.journal.add(engine.Event{Message: "the first reserves numbers, and is written at once"})
	go m.maintainDisk(t.Context()) // ends with the test
	return m
}

// during returns how often the disk was maintained during a time.
func (m *maintained) during(d time.Duration) int {
	before := m.rounds.Load()
	time.Sleep(d)
	synctest.Wait()
	return int(m.rounds.Load() - before)
}

// recorded returns how many events the record of the journal has.
func (m *maintained) recorded(t *testing.T) int {
	t.Helper()
	var s journalState
	data, err := m.disk.Read(journalRecord)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(s.Events)
}

// TestDiskIsMaintainedWhileThereIsSomethingToDo, within the interval, and not once more.
func TestDiskIsMaintainedWhileThereIsSomethingToDo(t *testing.T) {
	isDue := func(c chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	for name, tt := range map[string]struct {
		happens func(*testing.T, *maintained)
		done    func(*testing.T, *maintained) bool
		rounds  int
	}{
		"an event": {
			happens: func(_ *testing.T, m *maintained) { m.journal.add(engine.Event{Message: "x"}) },
			done: func(t *testing.T, m *maintained) bool {
				return m.recorded(t) == len(m.journal.events)
			},
			rounds: 1,
		},
		"an event of the record was acknowledged": {
			happens: func(_ *testing.T, m *maintained) { m.journal.acknowledge(m.journal.last) },
			done:    func(t *testing.T, m *maintained) bool { return m.recorded(t) == 0 },
			rounds:  1,
		},
		"a bundle that the engine does not read": {
			happens: func(_ *testing.T, m *maintained) { m.fresh.put("sha256:1", &object.Bundle{}, time.Now()) },
			done:    func(_ *testing.T, m *maintained) bool { return m.fresh.take("sha256:1") == nil },
			rounds:  1,
		},
		"a damaged record, which is an event as well": {
			happens: func(t *testing.T, m *maintained) {
				if err := os.WriteFile(filepath.Join(m.dir, "bundle-1.rec"), []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := m.disk.Read("bundle-1"); !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			},
			done:   func(_ *testing.T, m *maintained) bool { return isDue(m.fetchDue) && isDue(m.reportDue) },
			rounds: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := startMaintenance(t)
				for range 2 {
					if n := m.during(time.Hour); n != 0 {
						t.Fatalf("maintained %d times with nothing to do", n)
					}
					tt.happens(t, m)
					n := m.during(maintenanceInterval)
					if n != 1 || !tt.done(t, m) {
						t.Fatalf("not done within the interval, in which it was maintained %d times", n)
					}
					if n += m.during(time.Hour); n > tt.rounds {
						t.Errorf("maintained %d times, want %d", n, tt.rounds)
					}
					m.journal.add(engine.Event{Message: "for the next time"})
					m.during(maintenanceInterval)
				}
			})
		})
	}
}

// TestDiskWithAProblemIsTriedAgain in each interval until it is back, and both are reported.
func TestDiskWithAProblemIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := startMaintenance(t)
		m.during(time.Hour)
		if err := os.RemoveAll(m.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(m.dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if m.disk.Write("a", nil) == nil {
			t.Fatal("written into a file")
		}
		if n := m.during(10 * maintenanceInterval); n != 10 || len(m.reportDue) != 1 {
			t.Errorf("tried %d times in ten intervals; %d reports are due", n, len(m.reportDue))
		}
		<-m.reportDue
		if err := os.Remove(m.dir); err != nil {
			t.Fatal(err)
		}
		if n := m.during(time.Hour); n != 1 || m.disk.Problem() != nil || len(m.reportDue) != 1 {
			t.Errorf("after the disk is back it was tried %d times, and has the problem %v; %d reports are due", n, m.disk.Problem(), len(m.reportDue))
		}
		if !m.needsMaintenance(&disk.Problem{}) {
			t.Error("a write that succeeds ends a problem, and that is not reported")
		}
	})
}
