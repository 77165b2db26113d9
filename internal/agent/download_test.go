package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/agent/disk"
)

// TestABundleThatThereIsNoRoomForIsNotFetchedAgainAtOnce, is named, and does not end the session.
func TestABundleThatThereIsNoRoomForIsNotFetchedAgainAtOnce(t *testing.T) {
	h := startHub(t, longAgo)
	digest := h.bundle(configMap("a", "1"))
	e := newSite(t).start()
	e.stop()
	notADirectory := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notADirectory, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := disk.NewKey(bytes.Repeat([]byte{1}, disk.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	transport, err := e.p.transport(h.enroll)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	now := time.Unix(1_000_000, 0)
	g := newGateway(h.enroll, transport, "v2", func() time.Time { return now })
	d := &downloads{bundles: bundles{disk.Open(filepath.Join(notADirectory, "x"), key, disk.Options{MaxUnsaved: 1})}}
	for again := range 2 {
		for range 3 {
			_, err := d.fetch(t.Context(), g, h.enroll, digest)
			if f := failureOf(err); f == nil || f.reason != v1alpha1.AgentDiskFullReason {
				t.Fatalf("%+v, %v", f, err)
			}
		}
		h.mu.Lock()
		if h.sentObjects != again+1 {
			t.Errorf("%d downloads within %d hours", h.sentObjects, again)
		}
		h.mu.Unlock()
		now = now.Add(notKeptRetry)
	}
}
