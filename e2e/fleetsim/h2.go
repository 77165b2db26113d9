package fleetsim

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// The server of net/http keeps a goroutine and several buffers for each request that is open, some
// 14 KiB for each watch, so that ten watches of an idle edge alone would take what an edge may take.
// This one has one goroutine for each connection, which reads and answers, and another one only while
// there is something to write.

const (
	maxHeaders = 64 << 10
	maxBody    = 3 << 20 // as API servers have it
	// maxUnsent bounds what waits for a client that does not read.
	maxUnsent     = 64 << 20
	streamsAtOnce = 250
	writeTimeout  = 30 * time.Second
	readBuffer    = 2 << 10
)

// request is a request as it came in. Its body is valid until it is answered.
type request struct {
	method, path, query      string
	accept, contentType      string
	authorization, userAgent string
	body                     []byte
	tooLarge                 bool
}

// conn is one connection of a client.
type conn struct {
	edge    *Edge
	net     *tls.Conn
	input   *bufio.Reader
	framer  *http2.Framer
	decoder *hpack.Decoder
	reading *request // whose headers are being read
	block   []byte   // of headers that come in pieces
	last    uint32   // stream that began last
	owed    int      // bytes received and not yet given back to the connection's window

	mu       sync.Mutex
	out      []byte // frames to be written
	writing  bool
	handling bool // of a frame: what is to be written is written after it
	closed   bool
	muted    bool
	window   int64
	initial  int64 // window of a new stream
	maxFrame int
	streams  map[uint32]*stream
}

// stream is one request and its answer.
type stream struct {
	conn *conn
	id   uint32
	req  *request
	// What follows is guarded by the lock of the connection.
	window  int64
	pending []byte // waits for the window
	ending  bool   // close after pending
	closed  bool
	watcher *watcher
}

func (e *Edge) serveConn(nc *tls.Conn) {
	c := &conn{
		edge: e, net: nc, input: bufio.NewReaderSize(nc, readBuffer),
		window: 65535, initial: 65535, maxFrame: 16384, streams: map[uint32]*stream{},
	}
	c.framer = http2.NewFramer(io.Discard, c.input)
	c.framer.SetReuseFrames()
	c.decoder = hpack.NewDecoder(4096, c.onHeader)
	c.decoder.SetMaxStringLength(maxHeaders)
	e.opened(c)
	defer e.closed(c)
	defer c.close()
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.input, preface); err != nil || string(preface) != http2.ClientPreface {
		return
	}
	c.enqueue(func(b []byte) []byte {
		b = appendFrame(b, http2.FrameSettings, 0, 0, 12)
		b = appendSetting(b, http2.SettingMaxConcurrentStreams, streamsAtOnce)
		b = appendSetting(b, http2.SettingInitialWindowSize, 256<<10)
		b = appendFrame(b, http2.FrameWindowUpdate, 0, 0, 4)
		return append(b, 0, 0x0f, 0, 0)
	})
	for c.frame() == nil {
		if c.input.Buffered() == 0 {
			c.turn()
		}
	}
}

// turn writes what the frames that came together were answered with, before the next are waited for.
// While a frame is being handled no other goroutine starts to write: another goroutine costs more than the
// answer to most requests.
func (c *conn) turn() {
	c.mu.Lock()
	c.handling = false
	ours := !c.writing && !c.closed && !c.muted && len(c.out) > 0
	c.writing = c.writing || ours
	c.mu.Unlock()
	if ours {
		c.write()
	}
}

// frame reads one frame and does what it asks for.
func (c *conn) frame() error {
	f, err := c.framer.ReadFrame()
	if err != nil {
		return err
	}
	c.edge.hold()
	c.mu.Lock()
	c.handling = true
	c.mu.Unlock()
	switch f := f.(type) {
	case *http2.HeadersFrame:
		return c.onHeaders(f.StreamID, f.HeaderBlockFragment(), f.HeadersEnded(), f.StreamEnded())
	case *http2.ContinuationFrame:
		return c.onHeaders(f.StreamID, f.HeaderBlockFragment(), f.HeadersEnded(), c.stream(f.StreamID) == nil || c.stream(f.StreamID).ending)
	case *http2.DataFrame:
		c.onData(f)
	case *http2.SettingsFrame:
		return c.onSettings(f)
	case *http2.WindowUpdateFrame:
		c.onWindow(f.StreamID, int64(f.Increment))
	case *http2.PingFrame:
		if !f.IsAck() {
			c.enqueue(func(b []byte) []byte {
				return append(appendFrame(b, http2.FramePing, http2.FlagPingAck, 0, 8), f.Data[:]...)
			})
		}
	case *http2.RSTStreamFrame:
		c.forget(c.stream(f.StreamID))
	case *http2.GoAwayFrame:
		return io.EOF
	}
	return nil
}

func (c *conn) stream(id uint32) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams[id]
}

func (c *conn) onHeaders(id uint32, fragment []byte, last, ended bool) error {
	s := c.stream(id)
	if s == nil {
		s = &stream{conn: c, id: id, req: &request{}}
	}
	if id > c.last {
		c.last = id
		c.mu.Lock()
		s.window = c.initial
		c.streams[id] = s
		c.mu.Unlock()
	}
	if !last || len(c.block) > 0 {
		if len(c.block)+len(fragment) > maxHeaders {
			return errors.New("headers are too large")
		}
		c.block = append(c.block, fragment...)
		s.ending = ended
		if !last {
			return nil
		}
		fragment, c.block, s.ending = c.block, nil, false
	}
	if c.reading = s.req; s.req == nil {
		c.reading = &request{}
	}
	_, err := c.decoder.Write(fragment)
	if err == nil {
		err = c.decoder.Close()
	}
	c.reading = nil
	if err != nil {
		return fmt.Errorf("cannot read headers: %w", err)
	}
	if ended && c.stream(id) == s { // not what follows a request that was answered before its end
		c.edge.handle(s)
	}
	return nil
}

func (c *conn) onHeader(h hpack.HeaderField) {
	r := c.reading
	switch h.Name {
	case ":method":
		r.method = h.Value
	case ":path":
		r.path, r.query, _ = strings.Cut(h.Value, "?")
	case "accept":
		r.accept = h.Value
	case "content-type":
		r.contentType = h.Value
	case "authorization":
		r.authorization = h.Value
	case "user-agent":
		r.userAgent = h.Value
	case "content-length":
		if n, err := strconv.Atoi(h.Value); err == nil && n > 0 && n <= maxBody && r.body == nil {
			r.body = takeBuffer()
		}
	}
}

func (c *conn) onData(f *http2.DataFrame) {
	data := f.Data()
	s := c.stream(f.StreamID)
	c.owed += int(f.Length)
	ended := f.StreamEnded()
	if c.owed >= 32<<10 || !ended {
		owed := c.owed
		c.owed = 0
		c.enqueue(func(b []byte) []byte {
			b = appendWindow(b, 0, uint32(owed))
			if !ended && f.Length > 0 {
				b = appendWindow(b, f.StreamID, f.Length)
			}
			return b
		})
	}
	if s == nil || s.req == nil {
		return
	}
	if len(s.req.body)+len(data) > maxBody {
		s.req.tooLarge = true
	} else {
		s.req.body = append(s.req.body, data...)
	}
	if ended {
		c.edge.handle(s)
	}
}

func (c *conn) onSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	c.mu.Lock()
	err := f.ForeachSetting(func(s http2.Setting) error {
		switch s.ID {
		case http2.SettingInitialWindowSize:
			for _, st := range c.streams {
				st.window += int64(s.Val) - c.initial
			}
			c.initial = int64(s.Val)
		case http2.SettingMaxFrameSize:
			c.maxFrame = min(int(s.Val), 64<<10)
		default: // we push nothing and keep no table of headers
		}
		return nil
	})
	c.mu.Unlock()
	c.enqueue(func(b []byte) []byte { return appendFrame(b, http2.FrameSettings, http2.FlagSettingsAck, 0, 0) })
	return err
}

func (c *conn) onWindow(id uint32, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id != 0 {
		if s := c.streams[id]; s != nil {
			s.window += n
			s.pump()
		}
		return
	}
	c.window += n
	for _, s := range c.streams {
		s.pump()
	}
}

// forget gives up a stream that the client does not want any more, or that has ended.
func (c *conn) forget(s *stream) {
	if s == nil {
		return
	}
	c.mu.Lock()
	s.drop()
	w := s.watcher
	s.watcher = nil
	c.mu.Unlock()
	if w != nil {
		w.edge.unwatch(w)
	}
}

// drop is forget with the lock held, for a stream without a watch.
func (s *stream) drop() {
	s.closed, s.pending = true, nil
	delete(s.conn.streams, s.id)
}

func (c *conn) close() {
	c.mu.Lock()
	c.closed = true
	var all []*stream
	for _, s := range c.streams {
		all = append(all, s)
	}
	c.mu.Unlock()
	for _, s := range all {
		c.forget(s)
	}
	c.net.NetConn().Close()
}
