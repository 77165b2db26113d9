package gitserver

import (
	"io"
	"log"
	"net/http"
	"sync"
	"sync/atomic"
)

// quiet keeps the noise of clients that hang up, which tests provoke, out of their output.
var quiet = log.New(io.Discard, "", 0)

// counter counts events by kind.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) add(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[kind]++
}

// get returns the count of one kind, or of all for the empty one.
func (c *counter) get(kind string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kind != "" {
		return c.n[kind]
	}
	sum := 0
	for _, n := range c.n {
		sum += n
	}
	return sum
}

// countingWriter counts the bytes of an answer's body.
type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n.Add(int64(n))
	return n, err
}

// Unwrap lets http.ResponseController reach the flusher below.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
