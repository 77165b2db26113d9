package fleetsim

import (
	"bytes"
	"compress/gzip"
	"math"
	"strings"
	"sync"
	"time"
)

const (
	// floodEvery and floodPiece make 64 MiB in a second: more than any client reads, and little enough
	// that who floods does not need a core for it.
	floodEvery = 10 * time.Millisecond
	floodPiece = 640 << 10
	// memberSize is what one member of a gzip bomb unpacks to.
	memberSize = 16 << 20
)

// flood sends a body without sense until it has its size, or the client reads no more of it.
func (f *activeFault) flood(s *stream) {
	head, piece, rounds := []byte(`{"kind":"List","apiVersion":"v1","items":["`), filler(), f.Size/floodPiece
	switch f.Kind {
	case Endless:
		rounds = math.MaxInt64
	case GzipBomb:
		head, piece, rounds = nil, bomb(), f.Size/memberSize
	default:
	}
	s.send(head)
	t := time.NewTicker(floodEvery)
	defer t.Stop()
	for rounds > 0 {
		select {
		case <-f.lifted:
			s.end()
			return
		case <-t.C:
		}
		room, open := s.room()
		if !open {
			return
		}
		if room {
			s.send(piece)
			rounds--
		}
	}
	s.end()
}

// room says whether all that was sent is on its way, and whether the stream is open.
func (s *stream) room() (bool, bool) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return len(s.pending) == 0, !s.closed
}

var filler = sync.OnceValue(func() []byte { return []byte(strings.Repeat("all work and no play ", floodPiece/21)) })

// bomb is a member of a gzip file: any number of them in a row is one.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for range memberSize / len(zeros) {
		if _, err := z.Write(zeros); err != nil {
			panic(err) // memory takes everything
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
})
