package bootstrap

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/skerry-dev/skerry/internal/cli/create"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// person answers questions one by one.
type person struct{ answer func(question int) string }

func (p *person) reader() io.Reader {
	asked := 0
	return readerFunc(func(buf []byte) (int, error) {
		asked++
		return copy(buf, p.answer(asked)+"\n"), nil
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(buf []byte) (int, error) { return f(buf) }

// TestKeyIsMadeForAnSSHServer and gone on with when the server, a real one, lets it in.
func TestKeyIsMadeForAnSSHServer(t *testing.T) {
	h := gitserver.New(t)
	repo, err := h.Repo("fleet")
	if err != nil {
		t.Fatal(err)
	}
	server, err := h.ServeSSH()
	if err != nil {
		t.Fatal(err)
	}
	newRun := func(streams *iostreams.IOStreams) *run {
		f := &factory.Factory{IO: streams, Now: time.Now, Flags: &factory.Flags{Timeout: 10 * time.Second}}
		return &run{
			Options: &Options{Factory: f, URL: server.URL(repo), Branch: "main", Key: create.KeyOptions{Algorithm: "ecdsa", Curve: "p256"}},
			hub:     &factory.Hub{WithWatch: fake.NewClientBuilder().Build()},
		}
	}
	streams, _, _, errOut := iostreams.TestTerminal(40)
	// The server does not know the key when the person says yes for the first time.
	streams.In = (&person{func(question int) string {
		if question == 2 {
			if err := server.Allow(publicKey(errOut)); err != nil {
				t.Error(err)
			}
		}
		return "y"
	}}).reader()
	r := newRun(streams)
	err = r.Steps().Do("repository", func(s *factory.Step) error { return r.checkRepository(t.Context(), s) })
	said := errOut.String()
	if err != nil || strings.Count(said, "the server does not accept the key yet") != 1 || !strings.Contains(said, "with the key made now") {
		t.Fatalf("%v\n%s", err, said)
	}
	signer, err := gossh.ParsePrivateKey(r.secret["identity"])
	if err != nil || signer.PublicKey().Type() != gossh.KeyAlgoECDSA256 || len(r.secret["known_hosts"]) == 0 {
		t.Errorf("the key is %v, %v", signer, err)
	}
	if strings.Contains(said, "PRIVATE") {
		t.Error("the private key is shown")
	}

	streams, _, _, _ = iostreams.TestTerminal(40)
	streams.In = (&person{func(int) string { return "n" }}).reader()
	if _, err := newRun(streams).readCredentials(t.Context()); err == nil || err.Error() != "nothing was changed" {
		t.Errorf("a person who says no: %v", err)
	}
	streams, _, _, _ = iostreams.Test()
	_, err = newRun(streams).readCredentials(t.Context())
	if _, usage := errors.AsType[*factory.UsageError](err); !usage || !strings.Contains(err.Error(), "at a terminal, a key is made") {
		t.Errorf("without a terminal: %v", err)
	}
}

// publicKey is the line with the key that a person was shown.
func publicKey(shown *bytes.Buffer) string {
	for line := range strings.Lines(shown.String()) {
		if strings.HasPrefix(line, "ecdsa-") {
			return line
		}
	}
	return ""
}
