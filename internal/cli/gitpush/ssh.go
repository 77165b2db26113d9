package gitpush

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/git"
)

// sshServer runs Git's two commands on the server. Like the hub's, and unlike go-git's own transport,
// it reads no ssh_config and starts no agent, and its connections end with their context: what works
// here works there.
type sshServer struct {
	user, address, path string
	signer              ssh.Signer
	known               *git.KnownHosts
}

func newSSH(u *url.URL, secret map[string][]byte) (*sshServer, error) {
	s := &sshServer{user: cmp.Or(u.User.Username(), "git"), address: net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "22")), path: u.Path}
	var err error
	if password := strings.TrimRight(string(secret["password"]), "\r\n"); password != "" {
		s.signer, err = ssh.ParsePrivateKeyWithPassphrase(secret["identity"], []byte(password))
	} else {
		s.signer, err = ssh.ParsePrivateKey(secret["identity"])
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the private key cannot be read", git.ErrInvalidSecret)
	}
	s.known, err = git.ReadKnownHosts(secret["known_hosts"], "")
	return s, err
}

func (s *sshServer) upload(ctx context.Context) (uploader, error) {
	return s.run(ctx, transport.UploadPackServiceName)
}

func (s *sshServer) receive(ctx context.Context) (receiver, error) {
	return s.run(ctx, transport.ReceivePackServiceName)
}

// sshSession is one command on the server.
type sshSession struct {
	command string
	client  *ssh.Client
	session *ssh.Session
	stdin   io.WriteCloser
	stdout  io.Reader
	stderr  bytes.Buffer
	release func() bool
	refs    *packp.AdvRefs
	asked   bool
}

func (s *sshServer) run(ctx context.Context, command string) (*sshSession, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	session := &sshSession{command: command, release: context.AfterFunc(ctx, func() { _ = conn.Close() })}
	if session.client, err = s.login(conn); err == nil {
		err = session.start(s.path)
	}
	if err != nil {
		session.release()
		return nil, errors.Join(err, ignoreClosed(conn.Close()))
	}
	return session, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *sshServer) login(conn net.Conn) (*ssh.Client, error) {
	algorithms, err := s.known.Algorithms(s.address)
	if err != nil {
		return nil, err
	}
	check, checked := s.known.Callback(), error(nil)
	c, channels, requests, err := ssh.NewClientConn(conn, s.address, &ssh.ClientConfig{
		User: s.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(s.signer)}, HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			checked = check(host, remote, key)
			return checked
		},
	})
	switch {
	case err == nil:
		return ssh.NewClient(c, channels, requests), nil
	case checked != nil:
		return nil, fmt.Errorf("%w: the key of %s is not the one in known_hosts", git.ErrHostKeyRefused, s.address)
	case strings.Contains(err.Error(), "unable to authenticate"): // the library has no error for it
		return nil, fmt.Errorf("%w: %s does not accept the key", git.ErrAuthenticationFailed, s.address)
	}
	return nil, err
}

func (s *sshSession) start(path string) (err error) {
	if s.session, err = s.client.NewSession(); err != nil {
		return err
	}
	if s.stdin, err = s.session.StdinPipe(); err != nil {
		return err
	}
	if s.stdout, err = s.session.StdoutPipe(); err != nil {
		return err
	}
	s.session.Stderr = &s.stderr
	return s.session.Start(s.command + " '" + strings.NewReplacer(`'`, `'\''`, `!`, `'\!'`).Replace(path) + "'")
}

func (s *sshSession) AdvertisedReferencesContext(context.Context) (*packp.AdvRefs, error) {
	if s.refs != nil {
		return s.refs, nil
	}
	refs := packp.NewAdvRefs()
	err := refs.Decode(s.stdout)
	empty := errors.Is(err, packp.ErrEmptyAdvRefs) || err == nil && refs.IsEmpty()
	switch {
	case empty && s.command == transport.UploadPackServiceName:
		return nil, transport.ErrEmptyRemoteRepository
	case errors.Is(err, packp.ErrEmptyInput):
		return nil, s.refusal()
	case err != nil && !empty:
		return nil, err
	}
	transport.FilterUnsupportedCapabilities(refs.Capabilities)
	s.refs = refs
	return refs, nil
}

// refusal is what a server says that ends the command instead of listing references.
func (s *sshSession) refusal() error {
	_ = s.session.Wait() // stderr is complete after it
	return &refusal{iostreams.Line(s.stderr.String())}
}

// refusal is transport.ErrRepositoryNotFound, in the words of the server.
type refusal struct{ words string }

func (r *refusal) Error() string { return r.words }
func (r *refusal) Unwrap() error { return transport.ErrRepositoryNotFound }

func (s *sshSession) UploadPack(_ context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	s.asked = true
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
	return res, res.Decode(io.NopCloser(s.stdout))
}

func (s *sshSession) ReceivePack(_ context.Context, req *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error) {
	s.asked = true
	if err := req.Encode(s.stdin); err != nil {
		return nil, err
	}
	if !req.Capabilities.Supports(capability.ReportStatus) {
		return nil, s.session.Wait()
	}
	from := s.stdout
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
	if !s.asked {
		_, _ = s.stdin.Write(pktline.FlushPkt)
	}
	_ = s.session.Close()
	return s.client.Close()
}
