package hub

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/internal/report"
)

const (
	// eventsEach is how many events of one reason about one Kustomization are recorded one by one, whichever clusters they
	// are from. Those that follow are summed up in one event every summaryEvery: an event costs the API server some 4 ms,
	// and the removal of fifty Kustomizations from fifty clusters was 2,500 of them. A summary that waits when the hub ends
	// is lost; what was done stands in the statuses.
	eventsEach   = 10
	summaryEvery = 10 * time.Second
)

// summaries sums up the events of many clusters about one Kustomization at the same time.
type summaries struct {
	mu     sync.Mutex
	recent map[summaryKey]*summary // guarded by mu
}

type summaryKey struct {
	kustomization types.NamespacedName
	reason        string
}

// summary is of the events within the last summaryEvery.
type summary struct {
	recorded int      // events that were recorded one by one
	more     []string // clusters of those that were not, in their order
	last     func(report.Summary)
}

// record records an event of a cluster, now or with those of others; write is given the summary of
// those that it stands for as well.
func (s *summaries) record(key summaryKey, cluster string, write func(report.Summary)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.recent == nil {
		s.recent = map[summaryKey]*summary{}
	}
	sum := s.recent[key]
	if sum == nil {
		sum = &summary{}
		s.recent[key] = sum
		time.AfterFunc(summaryEvery, func() { s.flush(key) })
	}
	if sum.recorded < eventsEach {
		sum.recorded++
		write(nil)
		return
	}
	sum.more, sum.last = append(sum.more, cluster), write
}

// flush records what was not recorded one by one. While there is any, the next ones are not either.
func (s *summaries) flush(key summaryKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.recent[key]
	if len(sum.more) == 0 {
		delete(s.recent, key)
		return
	}
	sum.last(sum.more[:len(sum.more)-1])
	sum.more, sum.last = nil, nil
	time.AfterFunc(summaryEvery, func() { s.flush(key) })
}
