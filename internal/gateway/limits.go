package gateway

import (
	"container/list"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/skerry-dev/skerry/internal/engine"
)

const (
	// maxUnauthenticatedRequests bounds the requests of callers without a session that are answered at once: each costs the
	// verification of a signature. The others get a Retry-After of busyRetryAfter seconds.
	maxUnauthenticatedRequests = 64
	busyRetryAfter             = 5
	// maxReaders bounds the callers without a session whose message is being read: when there are more, the earliest is
	// aborted.
	maxReaders = 2048
	// maxDownloadsEach bounds the downloads of one agent, whatever sessions it has had. maxRequestsEach bounds all of its
	// requests at a time: a stream and a former one, a report, downloads.
	maxDownloadsEach = 2
	maxRequestsEach  = 6
	// maxReading bounds the bundles that are in memory as a whole, to be sent in parts, and readingWait how long a
	// download waits for a place. It releases the place before it sends what it read: agents that receive slowly, however
	// many, do not delay others.
	maxReading  = 16
	readingWait = 20 * time.Second
	// maxWindow and minWindow bound the part of a download that is made at once, and maxWindows the sum of what is made and
	// not sent yet: see windowBudget.
	maxWindow  = 256 << 10
	minWindow  = 8 << 10
	maxWindows = 64 << 20
	// maxExports bounds the updates that are written for a medium at a time, each of which holds a bundle as a whole, and
	// exportTimeout how long one may take.
	maxExports    = 8
	exportTimeout = time.Hour
	// maxTicketLifetime bounds how far away the end of a ticket may be.
	maxTicketLifetime = time.Hour
	// sessionEvery and sessionBurst bound the sessions of one key: an agent that connects anew all the time does no
	// harm to others. requestsEach and requestBurst bound its other requests.
	sessionEvery = 2 * time.Second
	sessionBurst = 10
	requestEvery = 20 * time.Millisecond
	requestBurst = 200
	eventsEvery  = 100 * time.Millisecond
	eventsBurst  = 500
	// reportEvery and reportBurst bound the reports of one key: an agent sends five a second at the most. stateEvery and
	// stateBurst bound what they show of the cluster and the disk, each a write of the Cluster.
	reportEvery   = 100 * time.Millisecond
	reportBurst   = 100
	stateEvery    = 10 * time.Second
	stateBurst    = 10
	readTimeout   = 30 * time.Second // of one request body
	reportTimeout = 5 * time.Minute  // of the body of a request of a session: 2 MiB at 64 kbit/s
	proofTimeout  = 5 * time.Second  // of the body of a caller without a session: a few hundred bytes
	writeTimeout  = 30 * time.Second // of writeChunk bytes: an agent that does not read for so long is disconnected
	objectTimeout = time.Minute      // of writeChunk bytes of objects: 2 kbit/s
	goAwayTimeout = time.Second / 2  // of what is left to a stream whose session has ended
	writeChunk    = 16 << 10
	maxDataFrame  = 4 << 10 // of a frame of HTTP/2
)

// limits bounds what all agents cost together, and each by itself.
type limits struct {
	unauthenticated chan struct{}
	reading         chan struct{}
	exports         chan struct{}
	windows         windowBudget
	readers         *readers
	conns           connLimits
	now             func() time.Time

	began time.Time

	mu      sync.Mutex
	buckets map[engine.Key]*[limitKinds]bucket // guarded by mu
}

// kind of what one key may do only so often.
type limitKind int

const (
	sessionKind limitKind = iota
	requestKind
	reportKind
	stateKind
	clockKind
	eventKind
	mediumKind
	limitKinds // how many there are
)

// bucket holds tokens, one more each interval. The zero value is full.
type bucket struct {
	used float64
	at   time.Duration // since the limits began
}

func newLimits(now func() time.Time) *limits {
	return &limits{
		unauthenticated: make(chan struct{}, maxUnauthenticatedRequests), reading: make(chan struct{}, maxReading), exports: make(chan struct{}, maxExports),
		windows: windowBudget{left: maxWindows}, readers: newReaders(maxReaders), conns: defaultConnLimits, now: now, began: now(), buckets: map[engine.Key]*[limitKinds]bucket{},
	}
}

// windowSize returns how large the next window is when so many bytes are left of maxWindows. It is at most a sixteenth of
// what is left, so that the windows of slow peers, however many, leave some for others, and at least minWindow: no agent
// with a session is refused for lack of memory. There are few sizes, so that a cached window fits the request of another
// agent.
//
// Example: with 64 MiB left it is 256 KiB, with 1 MiB left 64 KiB. 10,000 agents that do not read take all of it and 80 MiB
// more, which is what left is below zero then: each of them gets 8 KiB.
func windowSize(left int) int {
	size := maxWindow
	for size > minWindow && size > left/16 {
		size /= 2
	}
	return size
}

// windowBudget bounds the memory of what is made for downloads and not sent yet.
type windowBudget struct {
	mu   sync.Mutex
	left int // may be negative
}

func (w *windowBudget) acquire() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	size := windowSize(w.left)
	w.left -= size
	return size
}

func (w *windowBudget) release(size int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left += size
}

// takeTokens takes up to n tokens, and returns how many it got.
func (l *limits) takeTokens(key engine.Key, what limitKind, n int, every time.Duration, burst int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.buckets[key]
	if of == nil {
		of = &[limitKinds]bucket{}
		l.buckets[key] = of
	}
	b, now := &of[what], l.now().Sub(l.began)
	b.used = max(0, b.used-max(0, float64(now-b.at))/float64(every))
	b.at = now
	got := min(n, int(float64(burst)-b.used))
	b.used += float64(got)
	return got
}

func (l *limits) forget(key engine.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.buckets, key)
}

// readers are the callers whose message is being read, the earliest first.
type readers struct {
	limit int

	mu    sync.Mutex
	order *list.List // of functions that abort one
}

func newReaders(limit int) *readers { return &readers{limit: limit, order: list.New()} }

// add adds a caller, and aborts the earliest if there are too many. abort must not block, and is not called after done has
// returned.
func (r *readers) add(abort func()) (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.order.Len() >= r.limit {
		if earliest, ok := r.order.Remove(r.order.Front()).(func()); ok {
			earliest()
		}
	}
	mine := r.order.PushBack(abort)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.order.Remove(mine) // does nothing when it was aborted
	}
}

// refuse is the answer to every unauthenticated request.
func refuse(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }

// retryLater answers with Retry-After.
func retryLater(w http.ResponseWriter, status, seconds int) {
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	w.WriteHeader(status)
}
