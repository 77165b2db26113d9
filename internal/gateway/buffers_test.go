package gateway

import (
	"bytes"
	"crypto/tls"
	"net"
	"reflect"
	"testing"
)

// TestHandshakeBuffersAreDropped: where a version of Go calls them something else, each connection keeps 3.6 KiB more.
func TestHandshakeBuffersAreDropped(t *testing.T) {
	ca, key, err := NewCA()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ServerCertificate(ca, key)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	server := tls.Server(ours, &tls.Config{Certificates: []tls.Certificate{*certificate}, SessionTicketsDisabled: true})
	client := tls.Client(theirs, &tls.Config{InsecureSkipVerify: true})
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	shaken := make(chan error, 1)
	go func() { shaken <- client.Handshake() }() // ends with the connections
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	capacity := func(name string) int {
		field := reflect.ValueOf(server).Elem().FieldByName(name)
		if !field.IsValid() || field.Type() != reflect.TypeFor[bytes.Buffer]() {
			t.Fatalf("a tls.Conn has no buffer %s: see where the messages of a handshake are read to", name)
		}
		return (*bytes.Buffer)(field.Addr().UnsafePointer()).Cap()
	}
	for _, name := range handshakeBuffers {
		if n := capacity(name); n < 1<<10 {
			t.Errorf("%s has %d bytes: it is not where the first message of a peer was read to", name, n)
		}
	}
	dropHandshakeBuffers(server)
	for _, name := range handshakeBuffers {
		if n := capacity(name); n != 0 {
			t.Errorf("%s keeps %d bytes", name, n)
		}
	}
	go func() { _, _ = client.Write([]byte("a word")) }() // ends with the connections
	got := make([]byte, 6)
	if n, err := server.Read(got); err != nil || string(got[:n]) != "a word" {
		t.Errorf("what came after the handshake: %q, %v", got[:n], err)
	}
}
