package hub

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/internal/text"
)

const (
	// eventsEach is how many events of one reason about one Kustomization are recorded one by one, whichever clusters they
	// are from. Those that follow are summed up in one event every summaryEvery: an event costs the API server some 4 ms,
	// and the removal of fifty Kustomizations from fifty clusters was 2,500 of them. A summary that waits when the hub ends
	// is lost; what was done stands in the statuses.
	eventsEach   = 10
	summaryEvery = 10 * time.Second
)

// summaries sums up what many clusters tell of one Kustomization at the same time.
type summaries struct {
	mu   sync.Mutex
	told map[summaryKey]*summary // guarded by mu
}

type summaryKey struct {
	kustomization types.NamespacedName
	reason        string
}

// summary is what was told within the last summaryEvery.
type summary struct {
	at   int // events that were recorded one by one
	more int // that were not
	last func(more string)
}

// tell records an event of a cluster, now or with those of others; record is given what is to be said of those.
func (s *summaries) tell(key summaryKey, record func(more string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil {
		s.told = map[summaryKey]*summary{}
	}
	of := s.told[key]
	if of == nil {
		of = &summary{}
		s.told[key] = of
		time.AfterFunc(summaryEvery, func() { s.sumUp(key) })
	}
	if of.at < eventsEach {
		of.at++
		record("")
		return
	}
	of.more, of.last = of.more+1, record
}

// sumUp records what was not recorded one by one. While there is any, the next ones are not either.
func (s *summaries) sumUp(key summaryKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.told[key]
	if of.more == 0 {
		delete(s.told, key)
		return
	}
	more := ""
	if of.more > 1 {
		more = fmt.Sprintf("; and %s like this", text.Count(of.more-1, "more event"))
	}
	of.last(more)
	of.more, of.last = 0, nil
	time.AfterFunc(summaryEvery, func() { s.sumUp(key) })
}
