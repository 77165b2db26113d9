package gitserver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Stall says where an SSH server stops answering.
type Stall int

// Nowhere, as soon as a connection is accepted, or once a client has authenticated and asked for a
// command.
const (
	StallNever Stall = iota
	StallAtConnect
	StallAtCommand
)

// SSH serves the repositories of a Host to the holder of its one client key, pushes included.
type SSH struct {
	host   *Host
	client ed25519.PrivateKey

	mu       sync.Mutex
	allow    ssh.PublicKey
	addr     string
	hostKey  ssh.Signer
	stall    Stall
	listener net.Listener
	stop     context.CancelFunc
	running  *sync.WaitGroup

	requests counter
}

// ServeSSH starts an SSH server for the host's repositories on a free port of 127.0.0.1, with a new
// host key and a new client key.
func (h *Host) ServeSSH() (*SSH, error) {
	_, client, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(client)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client key: %w", err)
	}
	s := &SSH{host: h, client: client, allow: signer.PublicKey(), addr: "127.0.0.1:0"}
	if err := s.ChangeHostKey(); err != nil {
		return nil, err
	}
	if err := s.Start(); err != nil {
		return nil, err
	}
	h.onClose(s.Stop)
	return s, nil
}

// ChangeHostKey gives the server a new host key, for connections from now on.
func (s *SSH) ChangeHostKey() error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("cannot make a host key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return fmt.Errorf("cannot make a host key: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hostKey = signer
	return nil
}

// URL is where a repository is served: ssh://git@127.0.0.1:PORT/NAME.git.
func (s *SSH) URL(repo *Repo) string { return "ssh://git@" + s.Addr() + "/" + repo.name + ".git" }

// Addr is the address the server listens on, "127.0.0.1:PORT".
func (s *SSH) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// KnownHosts is the line of a known_hosts file that vouches for the server's present host key.
func (s *SSH) KnownHosts() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return []byte(knownhosts.Line([]string{s.addr}, s.hostKey.PublicKey()) + "\n")
}

// Identity is the private key that the server lets in, in PEM, encrypted if there is a passphrase.
func (s *SSH) Identity(passphrase string) ([]byte, error) {
	block, err := ssh.MarshalPrivateKey(s.client, "skerry")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(s.client, "skerry", []byte(passphrase))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot write the client key: %w", err)
	}
	return pem.EncodeToMemory(block), nil
}

// PublicKey is the public half of Identity, as in an authorized_keys file.
func (s *SSH) PublicKey() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.TrimSpace(ssh.MarshalAuthorizedKey(s.allow))
}

// Allow lets the holder of another key in, a line of an authorized_keys file, in place of that of Identity.
func (s *SSH) Allow(line string) error {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return fmt.Errorf("cannot read the key: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allow = key
	return nil
}

// SetStall makes the server stop answering there, for connections from now on.
func (s *SSH) SetStall(at Stall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stall = at
}

// Requests is how many of a kind the server has seen since it was made: "connect" for connections,
// "git-upload-pack" and "git-receive-pack" for commands, or "" for all.
func (s *SSH) Requests(kind string) int { return s.requests.get(kind) }

// Start listens again, on the port of before.
func (s *SSH) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("cannot listen for SSH: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.addr, s.listener, s.stop, s.running = listener.Addr().String(), listener, stop, new(sync.WaitGroup)
	s.running.Go(func() { s.accept(ctx, listener, s.running) })
	return nil
}

// Stop closes the port and every connection, kills their commands and waits for them.
func (s *SSH) Stop() error {
	s.mu.Lock()
	listener, stop, running := s.listener, s.stop, s.running
	s.listener = nil
	s.mu.Unlock()
	if listener == nil {
		return nil
	}
	stop()
	err := listener.Close()
	running.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *SSH) accept(ctx context.Context, listener net.Listener, running *sync.WaitGroup) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		s.requests.add("connect")
		running.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			s.serve(ctx, conn)
		})
	}
}

func (s *SSH) serve(ctx context.Context, conn net.Conn) {
	s.mu.Lock()
	hostKey, stall := s.hostKey, s.stall
	s.mu.Unlock()
	if stall == StallAtConnect {
		hold(conn)
		return
	}
	config := &ssh.ServerConfig{PublicKeyCallback: s.authorize}
	config.AddHostKey(hostKey)
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer server.Close()
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		if offered.ChannelType() != "session" {
			_ = offered.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		s.session(ctx, channel, requests, stall)
	}
}

// hold keeps a connection open, saying nothing, until the client or Stop closes it.
func hold(conn net.Conn) {
	buf := make([]byte, 1024)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}

func (s *SSH) authorize(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes.Equal(key.Marshal(), s.allow.Marshal()) {
		return &ssh.Permissions{}, nil
	}
	return nil, errors.New("key not known")
}

func (s *SSH) session(ctx context.Context, channel ssh.Channel, requests <-chan *ssh.Request, stall Stall) {
	defer channel.Close()
	for request := range requests {
		if request.Type != "exec" {
			_ = request.Reply(request.Type == "env", nil)
			continue
		}
		var exec struct{ Command string }
		if err := ssh.Unmarshal(request.Payload, &exec); err != nil {
			_ = request.Reply(false, nil)
			return
		}
		_ = request.Reply(true, nil)
		if stall == StallAtCommand {
			for range requests { //nolint:revive // held open until the client hangs up
			}
			return
		}
		go ssh.DiscardRequests(requests)
		status := s.command(ctx, channel, exec.Command)
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		return
	}
}

// unquote undoes the shell quoting that Git clients apply to the path.
func unquote(arg string) string {
	return strings.NewReplacer(`'\''`, `'`, `'\!'`, `!`, `'`, ``).Replace(arg)
}
