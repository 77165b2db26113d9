package git

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh"
	"golang.org/x/net/proxy"
)

// sshSession runs a command of Git on the server. It stands in for go-git's own SSH transport, which
// reads the ssh_config of the user that runs the process, takes a proxy from the environment, and has no
// context while it connects and authenticates: a server that accepts and sends nothing holds it for
// ever. Here the connection is closed when ctx ends, whatever it is waiting for.
type sshSession struct {
	limitError
	endpoint endpoint
	limits   Limits
	command  service
	listing  advertisement

	client    *ssh.Client
	session   *ssh.Session
	stdin     io.WriteCloser
	stdout    *bounded
	stderr    firstBytes
	release   func() bool
	requested bool
}

// openSSH connects, checks the host key, logs in and starts the command. It leaves no file behind.
func openSSH(ctx context.Context, e endpoint, auth Auth, o Options, command service) (session, error) {
	addr := net.JoinHostPort(e.host, cmp.Or(e.port, "22"))
	if o.scratch != "" {
		if err := os.MkdirAll(o.scratch, 0o700); err != nil { // the folder may have gone since the start
			return nil, disk("make a folder", err)
		}
	}
	known, err := ReadKnownHosts(auth.knownHosts, o.scratch)
	if err != nil {
		return nil, err
	}
	algorithms, err := known.Algorithms(addr)
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx, auth.proxy, addr)
	if err != nil {
		return nil, err
	}
	s := &sshSession{endpoint: e, limits: o.Limits, command: command}
	s.release = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := s.login(conn, addr, auth, known, algorithms); err != nil {
		s.release()
		_ = conn.Close()
		return nil, err
	}
	if err := s.start(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// dial connects to a server, through the proxy if there is one.
func dial(ctx context.Context, via *url.URL, addr string) (net.Conn, error) {
	direct := new(net.Dialer)
	if via == nil {
		return direct.DialContext(ctx, "tcp", addr)
	}
	var login *proxy.Auth
	if via.User != nil {
		password, _ := via.User.Password()
		login = &proxy.Auth{User: via.User.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", via.Host, login, direct)
	if err != nil {
		return nil, err
	}
	return dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", addr)
}

func (s *sshSession) login(conn net.Conn, addr string, auth Auth, known *KnownHosts, algorithms []string) error {
	trusted, refused := false, false
	check := known.Callback()
	config := &ssh.ClientConfig{
		User:              s.endpoint.user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(auth.signers...)},
		HostKeyAlgorithms: algorithms,
		ClientVersion:     "SSH-2.0-skerry",
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			err := check(host, remote, key)
			trusted, refused = err == nil, err != nil
			return err
		},
	}
	c, channels, requests, err := ssh.NewClientConn(conn, addr, config)
	if err == nil {
		s.client = ssh.NewClient(c, channels, requests)
		return nil
	}
	negotiation := new(ssh.AlgorithmNegotiationError)
	switch {
	case refused, errors.As(err, &negotiation) && strings.Contains(negotiation.What, "host key"):
		return fail(ErrHostKeyRefused, "the key of %s is not the one in known_hosts%s", s.endpoint.hostPort(), known.remark())
	case trusted && networkReason(err) == "" && !isTimeout(err):
		return fail(ErrAuthenticationFailed, "%s does not accept the identity", s.endpoint)
	case networkReason(err) == "" && !isTimeout(err):
		return fail(ErrUnreachable, "%s: no SSH connection can be agreed on", s.endpoint)
	}
	return err
}

func (s *sshSession) start() (err error) {
	if s.session, err = s.client.NewSession(); err != nil {
		return err
	}
	if s.stdin, err = s.session.StdinPipe(); err != nil {
		return err
	}
	stdout, err := s.session.StdoutPipe()
	if err != nil {
		return err
	}
	s.stdout = &bounded{stdout, s.limits.References, "the list of references exceeds the limit of " + size(s.limits.References), &s.limitError, &s.listing}
	s.session.Stderr = &s.stderr
	return s.session.Start(string(s.command) + " " + shellQuote(s.endpoint.path))
}

func (s *sshSession) offers() *advertisement { return &s.listing }

// repeatable: the command on the server ends with its first answer.
func (s *sshSession) repeatable() bool { return false }

func (s *sshSession) AdvertisedReferencesContext(context.Context) (*packp.AdvRefs, error) {
	refs := packp.NewAdvRefs()
	err := refs.Decode(s.stdout)
	line := new(pktline.ErrorLine)
	empty := errors.Is(err, packp.ErrEmptyAdvRefs) || err == nil && refs.IsEmpty()
	switch {
	case empty && s.command == uploadPack:
		return nil, transport.ErrEmptyRemoteRepository
	case errors.Is(err, packp.ErrEmptyInput), errors.As(err, &line):
		return nil, s.refusal(err)
	case err != nil && !empty:
		return nil, err
	}
	transport.FilterUnsupportedCapabilities(refs.Capabilities)
	return refs, nil
}

// refusal recognizes a server that ended the command, which it does when there is nothing that this key
// may read, from a connection that broke.
func (s *sshSession) refusal(err error) error {
	exit := new(ssh.ExitError)
	if waited := s.session.Wait(); errors.As(waited, &exit) {
		return transport.ErrRepositoryNotFound
	}
	if line := new(pktline.ErrorLine); errors.As(err, &line) {
		_, _ = s.stderr.Write([]byte(line.Text))
		return transport.ErrRepositoryNotFound
	}
	return io.ErrUnexpectedEOF
}

// Words are complete once the command has ended.
func (s *sshSession) Words() string { return s.stderr.String() }

// firstBytes keeps the beginning of what is written to it.
type firstBytes struct {
	mu   sync.Mutex
	kept []byte // guarded by mu
}

// maxWords bounds what is kept of what a server writes for people, in bytes.
const maxWords = 2 << 10

func (b *firstBytes) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = append(b.kept, p[:min(len(p), maxWords-len(b.kept))]...)
	return len(p), nil
}

func (b *firstBytes) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.kept)
}

func (s *sshSession) UploadPack(_ context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	s.requested = true
	s.stdout.listing = nil
	s.stdout.left, s.stdout.what = s.limits.Pack, "the fetch exceeds the limit of "+size(s.limits.Pack)+" (see --git-max-fetch-size)"
	if err := req.UploadRequest.Encode(s.stdin); err != nil {
		return nil, err
	}
	if err := req.UploadHaves.Encode(s.stdin, false); err != nil {
		return nil, err
	}
	if err := pktline.NewEncoder(s.stdin).EncodeString("done\n"); err != nil {
		return nil, err
	}
	res := packp.NewUploadPackResponse(req)
	if err := res.Decode(io.NopCloser(s.stdout)); err != nil {
		return nil, err
	}
	return res, nil
}

func (s *sshSession) ReceivePack(_ context.Context, req *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error) {
	s.requested = true
	s.stdout.listing = nil
	s.stdout.left, s.stdout.what = maxReport, "the answer to the push exceeds the limit of "+size(maxReport)
	if err := req.Encode(s.stdin); err != nil {
		return nil, err
	}
	if !req.Capabilities.Supports(capability.ReportStatus) {
		return nil, s.session.Wait()
	}
	var from io.Reader = s.stdout
	if req.Capabilities.Supports(capability.Sideband64k) {
		demuxer := sideband.NewDemuxer(sideband.Sideband64k, from)
		demuxer.Progress = req.Progress
		from = demuxer
	}
	report := packp.NewReportStatus()
	if err := report.Decode(from); err != nil {
		return nil, err
	}
	return report, report.Error()
}

// Close ends the command, politely if it is still waiting for a request, and the connection.
func (s *sshSession) Close() error {
	defer s.release()
	if !s.requested && s.stdin != nil {
		_, _ = s.stdin.Write(pktline.FlushPkt)
	}
	if s.session != nil {
		_ = s.session.Close()
	}
	return s.client.Close()
}

// shellQuote quotes as git does for the shell at the other end.
func shellQuote(arg string) string {
	return "'" + strings.NewReplacer(`'`, `'\''`, `!`, `'\!'`).Replace(arg) + "'"
}
