package gitserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
)

// ErrNoOpenSSH says that the machine has no sshd or ssh-keygen.
var ErrNoOpenSSH = errors.New("OpenSSH is not installed")

// OpenSSH serves the repositories of a Host by the machine's own sshd to the user who runs the test.
type OpenSSH struct {
	host     *Host
	dir      string
	sshd     string
	user     string
	listener net.Listener
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// ServeOpenSSH starts sshd, once for each connection, for connections to a free port of 127.0.0.1. It has
// host keys of the kinds ed25519, ecdsa and rsa.
func (h *Host) ServeOpenSSH() (*OpenSSH, error) {
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd"
	}
	if _, err := os.Stat(sshd); err != nil {
		return nil, ErrNoOpenSSH
	}
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		return nil, ErrNoOpenSSH
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "gitserver-sshd-")
	if err != nil {
		return nil, err
	}
	s := &OpenSSH{host: h, dir: dir, sshd: sshd, user: me.Username}
	h.onClose(func() error { return errors.Join(s.close(), os.RemoveAll(dir)) })
	if err := s.configure(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	if s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("cannot listen for SSH: %w", err)
	}
	s.running.Go(func() { s.accept(ctx) })
	return s, nil
}

func (s *OpenSSH) configure() error {
	lines := []string{
		"AuthorizedKeysFile " + s.path("authorized_keys"), "StrictModes no", "UsePAM no", "PidFile none",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin yes", "LogLevel ERROR",
		// A test may run as root in folders of another user, which git would refuse.
		"SetEnv GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*",
	}
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		if _, err := s.Key("host_"+kind, kind, ""); err != nil {
			return err
		}
		lines = append(lines, "HostKey "+s.path("host_"+kind))
	}
	if os.Getuid() == 0 { // sshd of root separates its privileges, in a folder that its package makes
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(s.path("sshd_config"), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func (s *OpenSSH) path(name string) string { return filepath.Join(s.dir, name) }

// Key lets ssh-keygen make a key, with what further arguments say, and returns its private half.
func (s *OpenSSH) Key(name, kind, passphrase string, args ...string) ([]byte, error) {
	args = append([]string{"-q", "-t", kind, "-N", passphrase, "-C", name, "-f", s.path(name)}, args...)
	if out, err := exec.CommandContext(context.Background(), "ssh-keygen", args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	return os.ReadFile(s.path(name))
}

// Allow lets in the keys of those names, and no others.
func (s *OpenSSH) Allow(names ...string) error {
	var all []byte
	for _, name := range names {
		public, err := os.ReadFile(s.path(name + ".pub"))
		if err != nil {
			return err
		}
		all = append(all, public...)
	}
	return os.WriteFile(s.path("authorized_keys"), all, 0o600)
}

// KnownHosts are the lines of a known_hosts file for the server's host keys of those kinds, hashed by
// ssh-keygen if that is asked for.
func (s *OpenSSH) KnownHosts(hashed bool, kinds ...string) ([]byte, error) {
	host, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return nil, err
	}
	var lines []byte
	for _, kind := range kinds {
		public, err := os.ReadFile(s.path("host_" + kind + ".pub"))
		if err != nil {
			return nil, err
		}
		lines = append(lines, fmt.Sprintf("[%s]:%s %s", host, port, public)...)
	}
	if !hashed {
		return lines, nil
	}
	name := s.path("known_hosts")
	if err := os.WriteFile(name, lines, 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(context.Background(), "ssh-keygen", "-q", "-H", "-f", name).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	return os.ReadFile(name)
}

// URL is where a repository is served.
func (s *OpenSSH) URL(repo *Repo) string {
	return "ssh://" + s.user + "@" + s.listener.Addr().String() + repo.dir
}

// Short is URL in the form user@[host:port]:path.
func (s *OpenSSH) Short(repo *Repo) string {
	return s.user + "@[" + s.listener.Addr().String() + "]:" + repo.dir
}

func (s *OpenSSH) accept(ctx context.Context) {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.running.Go(func() {
			defer conn.Close()
			socket, err := conn.(*net.TCPConn).File()
			if err != nil {
				return
			}
			defer socket.Close()
			cmd := exec.CommandContext(ctx, s.sshd, "-i", "-e", "-f", s.path("sshd_config"))
			var stderr bytes.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = socket, socket, &stderr
			_ = cmd.Run() // a client that leaves early is no error of the server
		})
	}
}

func (s *OpenSSH) close() error {
	if s.listener == nil {
		return nil
	}
	s.stop()
	err := s.listener.Close()
	s.running.Wait()
	return err
}
