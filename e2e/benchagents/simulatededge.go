package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
)

// simulatedEdge takes the place of an engine: it takes as long, and reports what an engine reports whose cluster takes
// everything. It sends nothing.
type simulatedEdge struct {
	o     engine.PoolOptions
	uid   string
	takes time.Duration

	mu       sync.Mutex // guards what follows
	turn     int        // counts what was assigned
	stopped  bool
	statuses []v1alpha1.AssignmentEntryStatus
	reported bool
	applied  int // objects that an engine would have written
}

var _ engine.Pooled = (*simulatedEdge)(nil)

// Connect implements engine.Pooled.
func (s *simulatedEdge) Connect(key engine.Key, _ engine.Connection) { s.o.OnChange(key) }

// Disconnect implements engine.Pooled.
func (s *simulatedEdge) Disconnect(engine.Key) { s.Stop(context.Background()) }

// Assign implements engine.Pooled. What stands already is reported as it stands, with the time at which it was verified:
// an engine verifies at the interval of an entry, and not because its hub has another session with it.
func (s *simulatedEdge) Assign(key engine.Key, entries []v1alpha1.AssignmentEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn++
	if turn := s.turn; !s.stands(entries) {
		time.AfterFunc(s.takes, func() { s.finish(key, turn, entries) })
	}
}

// stands reports whether the entries are those of the last report; the mutex is held.
func (s *simulatedEdge) stands(entries []v1alpha1.AssignmentEntry) bool {
	return s.reported && slices.EqualFunc(entries, s.statuses, func(e v1alpha1.AssignmentEntry, st v1alpha1.AssignmentEntryStatus) bool {
		return e.Name == st.Name && e.Digest == st.AppliedDigest && e.Revision == st.AppliedRevision && e.RequestedAt == st.HandledAt
	})
}

func (s *simulatedEdge) has(e *v1alpha1.AssignmentEntry) bool {
	for i := range s.statuses {
		if st := &s.statuses[i]; st.Name == e.Name {
			return st.AppliedDigest == e.Digest
		}
	}
	return false
}

// finish reports that everything is applied, unless something newer was assigned.
func (s *simulatedEdge) finish(key engine.Key, turn int, entries []v1alpha1.AssignmentEntry) {
	statuses := make([]v1alpha1.AssignmentEntryStatus, 0, len(entries))
	at := metav1.NewTime(s.o.Now().Truncate(time.Second))
	written := 0
	for i := range entries {
		e := &entries[i]
		bundle, err := s.o.Bundles.Get(context.Background(), e.Digest)
		if err != nil { // the agent fetches it, and assigns again
			return
		}
		n := int32(len(bundle.Objects))
		if s.mu.Lock(); !s.has(e) {
			written += len(bundle.Objects)
		}
		s.mu.Unlock()
		statuses = append(statuses, v1alpha1.AssignmentEntryStatus{
			Name: e.Name, AppliedRevision: e.Revision, AppliedDigest: e.Digest, Ready: metav1.ConditionTrue, Reason: v1alpha1.SucceededReason,
			Objects: v1alpha1.ObjectCounts{Total: n, Applied: n, Ready: n}, VerifiedAt: &at, HandledAt: e.RequestedAt,
		})
	}
	s.mu.Lock()
	current := turn == s.turn && !s.stopped
	if current {
		s.statuses, s.reported = statuses, true
		s.applied += written
	}
	s.mu.Unlock()
	if current {
		s.o.OnChange(key)
	}
}

// Report implements engine.Pooled.
func (s *simulatedEdge) Report(engine.Key) ([]v1alpha1.AssignmentEntryStatus, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.statuses, s.reported
}

// State implements engine.Pooled.
func (s *simulatedEdge) State(engine.Key) (engine.State, bool) {
	return engine.State{Known: true, Reachable: true, Usable: true, Examined: true, UID: s.uid, Version: "v1.37.2", LastSeen: s.o.Now()}, true
}

// Verify implements engine.Pooled.
func (s *simulatedEdge) Verify(engine.Key) {}

// Finalize implements engine.Pooled.
func (s *simulatedEdge) Finalize(context.Context, engine.Key) error { return engine.ErrNotConnected }

// Stop implements engine.Pooled.
func (s *simulatedEdge) Stop(context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

// edgeAPI is in the place of an edge's API server, for the few objects that the agent has for itself: it keeps what is
// written to it, and checks nothing.
type edgeAPI struct {
	mu      sync.Mutex
	objects map[string][]byte // by path
	version int
}

// RoundTrip implements http.RoundTripper.
func (e *edgeAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	path := r.URL.Path
	if r.Method == http.MethodGet {
		return e.answer(r, path)
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		return nil, fmt.Errorf("the stand-in for an API server cannot %s", r.Method)
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	name, err := e.keep(path, raw, r.Method == http.MethodPost)
	if err != nil {
		return nil, err
	}
	return e.answer(r, name)
}

// keep stores an object as of a new version, and returns its path.
func (e *edgeAPI) keep(path string, raw []byte, isNew bool) (string, error) {
	o := &unstructured.Unstructured{}
	if err := json.Unmarshal(raw, &o.Object); err != nil {
		return "", err
	}
	if isNew {
		path += "/" + o.GetName()
	}
	e.version++
	o.SetResourceVersion(strconv.Itoa(e.version))
	raw, err := json.Marshal(o.Object)
	if e.objects == nil {
		e.objects = map[string][]byte{}
	}
	e.objects[path] = raw
	return path, err
}

func (e *edgeAPI) answer(r *http.Request, path string) (*http.Response, error) {
	code, raw := http.StatusOK, e.objects[path]
	if raw == nil {
		code, raw = http.StatusNotFound, []byte(`{"apiVersion":"v1","kind":"Status","status":"Failure","reason":"NotFound","code":404}`)
	}
	return &http.Response{
		StatusCode: code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(raw)), Body: io.NopCloser(bytes.NewReader(raw)),
	}, nil
}
