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
	// maxUnproven bounds the requests of callers without a session that are answered at once: each costs the
	// verification of a signature. The others are told to come back, after up to unprovenRetry.
	maxUnproven   = 64
	unprovenRetry = 5
	// maxReaders bounds the callers without a session whose message is being read: when there are more, the one that
	// takes longest is ended.
	maxReaders = 2048
	// maxDownloads bounds the bundles on their way in sum, and maxDownloadsEach those to one agent, whatever sessions
	// it has had. maxRequestsEach bounds all of its requests at a time: a stream and a former one, a report, downloads.
	maxDownloads     = 128
	maxDownloadsEach = 2
	maxRequestsEach  = 6
	// maxConnections bounds those that are open. strangerLife is how long one may be that proves nothing.
	maxConnections = 16384
	strangerLife   = 2 * time.Minute
	// sessionEvery and sessionBurst bound the sessions of one key: an agent that connects anew all the time does no
	// harm to others. requestsEach and requestBurst bound its other requests.
	sessionEvery  = 2 * time.Second
	sessionBurst  = 10
	requestEvery  = 20 * time.Millisecond
	requestBurst  = 200
	eventsEvery   = 100 * time.Millisecond
	eventsBurst   = 500
	readTimeout   = 30 * time.Second // of one request body
	reportTimeout = 5 * time.Minute  // of the body of a request of a session: 2 MiB at 64 kbit/s
	proofTimeout  = 5 * time.Second  // of the body of a caller without a session: a few hundred bytes
	writeTimeout  = 30 * time.Second // of writePart bytes: an agent that does not read for so long is disconnected
	objectTimeout = time.Minute      // of writePart bytes of objects: 2 kbit/s
	writePart     = 16 << 10
)

// limits bounds what all agents cost together, and each by itself.
type limits struct {
	unproven  chan struct{}
	downloads chan struct{}
	readers   *readers
	now       func() time.Time

	mu      sync.Mutex
	buckets map[bucketKey]*bucket
}

type bucketKey struct {
	of   engine.Key
	what string
}

// bucket holds tokens, one more each interval.
type bucket struct {
	tokens float64
	at     time.Time
}

func newLimits(now func() time.Time) *limits {
	return &limits{unproven: make(chan struct{}, maxUnproven), downloads: make(chan struct{}, maxDownloads), readers: newReaders(maxReaders), now: now, buckets: map[bucketKey]*bucket{}}
}

// take takes up to n tokens, and returns how many it got.
func (l *limits) take(key engine.Key, what string, n int, every time.Duration, burst int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, id := l.now(), bucketKey{key, what}
	b := l.buckets[id]
	if b == nil {
		b = &bucket{tokens: float64(burst), at: now}
		l.buckets[id] = b
	}
	b.tokens = min(float64(burst), b.tokens+max(0, float64(now.Sub(b.at)))/float64(every))
	b.at = now
	got := min(n, int(b.tokens))
	b.tokens -= float64(got)
	return got
}

func (l *limits) forget(key engine.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, what := range []string{"session", "request", "event", "medium"} {
		delete(l.buckets, bucketKey{key, what})
	}
}

// readers are the callers whose message is being read, the earliest first.
type readers struct {
	limit int

	mu    sync.Mutex
	order *list.List // of functions that end one
}

func newReaders(limit int) *readers { return &readers{limit: limit, order: list.New()} }

// enter takes in one more, and ends the earliest if there are too many. abort must not wait; it is not called any more
// after leave has returned.
func (r *readers) enter(abort func()) (leave func()) {
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
		r.order.Remove(mine) // does nothing when it was ended
	}
}

// refuse is the one answer to everything that is not proven.
func refuse(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }

// later tells a caller to come back.
func later(w http.ResponseWriter, status, seconds int) {
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	w.WriteHeader(status)
}
