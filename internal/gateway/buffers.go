package gateway

import (
	"bytes"
	"crypto/tls"
	"reflect"
)

// handshakeBuffers are the fields of tls.Conn into which the messages of a handshake are read.
var handshakeBuffers = []string{"rawInput", "hand"}

// dropHandshakeBuffers lets go of what the messages of a handshake were read into, where nothing is left in it. The first
// message of a peer has a key of 1.2 KiB, so that these are 3.6 KiB, which crypto/tls keeps as long as the connection lasts,
// and has no other way to be rid of. It makes new ones when it needs them. A version of crypto/tls that has no such fields
// keeps its memory, and a test fails. No other goroutine may use the connection meanwhile.
func dropHandshakeBuffers(c *tls.Conn) {
	fields := reflect.ValueOf(c).Elem()
	for _, name := range handshakeBuffers {
		field := fields.FieldByName(name)
		if !field.IsValid() || field.Type() != reflect.TypeFor[bytes.Buffer]() {
			continue
		}
		if buffer := (*bytes.Buffer)(field.Addr().UnsafePointer()); buffer.Len() == 0 { // else more has arrived
			*buffer = bytes.Buffer{}
		}
	}
}
