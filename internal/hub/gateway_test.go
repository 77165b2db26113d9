package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/gateway"
	"github.com/skerry-dev/skerry/internal/link"
)

// failing is a cache that answers with an error.
type failing struct {
	client.Reader
	err error
}

func (f failing) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return f.err
}

// TestAnAssignmentThatCannotBeReadIsNotNone: an agent would be told that nothing is assigned to it.
func TestAnAssignmentThatCannotBeReadIsNotNone(t *testing.T) {
	key := engine.Key{Namespace: "fleet", Name: "edge-1"}
	ended := errors.New("the cache has ended")
	if a, err := assignmentReader(failing{err: ended})(t.Context(), key); a != nil || !errors.Is(err, ended) {
		t.Errorf("got %v, %v", a, err)
	}
	none := apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("assignments").GroupResource(), key.Name)
	if a, err := assignmentReader(failing{err: none})(t.Context(), key); a != nil || err != nil {
		t.Errorf("one that is not there: %v, %v", a, err)
	}
	if a, err := assignmentReader(failing{})(t.Context(), key); a == nil || err != nil {
		t.Errorf("one that is there: %v, %v", a, err)
	}
}

// TestAGivenCertificateLocksNoAgentOut: agents that have pinned the hub's own authority ask for another name than those
// that joined with the certificate which the gateway was given, and a new one of that is shown without a restart.
func TestAGivenCertificateLocksNoAgentOut(t *testing.T) {
	own, given, renewed := newAuthority(t), newAuthority(t), newAuthority(t)
	o := Options{GatewayCertFile: filepath.Join(t.TempDir(), "tls.crt"), GatewayKeyFile: filepath.Join(t.TempDir(), "tls.key")}
	given.write(t, o)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve := gateway.ServeOptions{Listener: listener}
	watcher, err := o.gatewayCertificates(&serve, &own)
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(gateway.Options{Now: time.Now, Log: logr.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- g.Serve(ctx, serve) }()
	go func() { ended <- watcher.Start(ctx) }()
	defer func() {
		stop()
		for range cap(ended) {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}()

	shown := func(asked string, by gatewayIdentity) error {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(by.ca)
		// gateway.ServerCertificate makes certificates for this name alone, also those that are given here.
		verify := func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: link.ServerName, Roots: roots})
			return err
		}
		conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{ServerName: asked, InsecureSkipVerify: true, VerifyConnection: verify})
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	if err := shown(link.ServerName, own); err != nil {
		t.Errorf("an agent that has pinned the hub's authority: %v", err)
	}
	if err := shown("gateway.example", given); err != nil {
		t.Errorf("an agent that joined with the given certificate: %v", err)
	}
	renewed.write(t, o)
	for deadline := time.Now().Add(time.Minute); shown("gateway.example", renewed) != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the renewed certificate is not shown")
		}
	}
	if err := shown(link.ServerName, own); err != nil {
		t.Errorf("after the renewal: %v", err)
	}
}

func newAuthority(t *testing.T) gatewayIdentity {
	t.Helper()
	ca, key, err := gateway.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	return gatewayIdentity{ca: ca, caKey: key}
}

// write writes a certificate of the authority into the files that are given to the gateway.
func (i *gatewayIdentity) write(t *testing.T, o Options) {
	t.Helper()
	c, err := gateway.ServerCertificate(i.ca, i.caKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		o.GatewayKeyFile: {Type: "PRIVATE KEY", Bytes: key}, o.GatewayCertFile: {Type: "CERTIFICATE", Bytes: c.Certificate[0]},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
