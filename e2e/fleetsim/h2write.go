package fleetsim

import (
	"encoding/binary"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func takeBuffer() []byte { return (*buffers.Get().(*[]byte))[:0] }

func giveBuffer(b []byte) {
	if cap(b) <= 256<<10 {
		buffers.Put(&b)
	}
}

func appendFrame(b []byte, t http2.FrameType, flags http2.Flags, id uint32, length int) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), byte(t), byte(flags))
	return binary.BigEndian.AppendUint32(b, id)
}

func appendSetting(b []byte, id http2.SettingID, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(id)), value)
}

func appendWindow(b []byte, id, n uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, http2.FrameWindowUpdate, 0, id, 4), n)
}

// Indexes of names in the static table of HPACK.
const (
	nameStatus        = 8
	nameContentLength = 28
	nameContentType   = 31
)

// appendHeaders appends a frame of headers that uses no table of its own: nothing is remembered from
// one answer to the next.
func appendHeaders(b []byte, id uint32, flags http2.Flags, a *answer, length int) []byte {
	start := len(b)
	b = appendFrame(b, http2.FrameHeaders, flags|http2.FlagHeadersEndHeaders, id, 0)
	if a.code == 200 {
		b = append(b, 0x80|8)
	} else {
		b = appendLiteral(append(b, nameStatus), strconv.Itoa(a.code))
	}
	b = appendLiteral(append(b, 0x0f, nameContentType-15), a.contentType)
	if length >= 0 {
		b = appendLiteral(append(b, 0x0f, nameContentLength-15), strconv.Itoa(length))
	}
	for _, h := range a.headers {
		b = appendLiteral(appendLiteral(append(b, 0), h.name), h.value)
	}
	n := len(b) - start - 9
	b[start], b[start+1], b[start+2] = byte(n>>16), byte(n>>8), byte(n)
	return b
}

func appendLiteral(b []byte, s string) []byte {
	if n := len(s); n < 127 {
		b = append(b, byte(n))
	} else {
		b = append(b, 127)
		for n -= 127; n >= 128; n >>= 7 {
			b = append(b, byte(n)|128)
		}
		b = append(b, byte(n))
	}
	return append(b, s...)
}

// enqueue adds frames to what is to be written.
func (c *conn) enqueue(add func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = add(c.buffer())
	c.flush()
}

func (c *conn) buffer() []byte {
	if c.out == nil {
		c.out = takeBuffer()
	}
	return c.out
}

// flush has what is in the buffer written. The lock is held.
func (c *conn) flush() {
	if !c.writing && !c.handling && !c.closed && !c.muted && len(c.out) > 0 {
		c.writing = true
		go c.write()
	}
}

// write writes until nothing is left. What comes meanwhile goes out in one piece.
func (c *conn) write() {
	for {
		c.mu.Lock()
		out := c.out
		c.out = nil
		if len(out) == 0 || c.closed || c.muted {
			c.out, c.writing = out, false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		err := c.net.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err == nil {
			_, err = c.net.Write(out)
		}
		if err != nil {
			c.mu.Lock()
			c.closed, c.writing = true, false
			c.mu.Unlock()
			c.net.NetConn().Close() // the reader notices and cleans up
			return
		}
		giveBuffer(out)
	}
}

// reply sends a whole answer.
func (s *stream) reply(a *answer) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed {
		return
	}
	var flags http2.Flags
	if len(a.body) == 0 {
		flags = http2.FlagHeadersEndStream
	}
	c.out = appendHeaders(c.buffer(), s.id, flags, a, len(a.body))
	if len(a.body) == 0 {
		s.drop()
		c.flush()
		return
	}
	s.ending = true
	s.push(a.body)
}

// begin sends the head of an answer whose body follows by send.
func (s *stream) begin(a *answer) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.closed {
		c.out = appendHeaders(c.buffer(), s.id, 0, a, -1)
		c.flush()
	}
}

// send adds to the body of an answer. It never waits for the client.
func (s *stream) send(p []byte) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if !s.closed {
		s.push(p)
	}
}

// end closes an answer that began with begin, after what was sent.
func (s *stream) end() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if !s.closed {
		s.ending = true
		s.push(nil)
	}
}

// push writes what the windows of the connection and the stream allow and keeps the rest. The lock
// is held.
func (s *stream) push(p []byte) {
	if len(s.pending) > 0 {
		s.pending = append(s.pending, p...)
		p = nil
		if len(s.pending) > maxUnsent {
			s.conn.closed = true
			s.conn.net.NetConn().Close()
			return
		}
	}
	if len(s.pending) == 0 {
		if p = s.frames(p); !s.closed {
			s.pending = append(s.pending, p...)
		}
	}
	s.conn.flush()
}

// pump writes what had to wait.
func (s *stream) pump() {
	if s.closed || len(s.pending) == 0 {
		return
	}
	s.pending = s.frames(s.pending)
	if len(s.pending) == 0 {
		s.pending = nil
	}
	s.conn.flush()
}

// frames turns as much of p into frames as the windows allow and returns the rest.
func (s *stream) frames(p []byte) []byte {
	c := s.conn
	for {
		n := max(0, min(int64(len(p)), s.window, c.window, int64(c.maxFrame)))
		if n == 0 && len(p) > 0 {
			return p
		}
		last := s.ending && n == int64(len(p))
		if n == 0 && !last {
			return nil
		}
		var flags http2.Flags
		if last {
			flags = http2.FlagDataEndStream
		}
		c.out = append(appendFrame(c.buffer(), http2.FrameData, flags, s.id, int(n)), p[:n]...)
		s.window -= n
		c.window -= n
		if p = p[n:]; last {
			s.drop()
			return nil
		}
	}
}
