package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	hubgateway "github.com/skerry-dev/skerry/internal/gateway"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/medium"
)

var agentKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))

// world is a hub with one Cluster, and a gateway that answers as a test says.
type world struct {
	t      *testing.T
	hub    *factory.Hub
	answer func(http.ResponseWriter, *http.Request)
	asked  int
	late   int // answers until the hub has seen the ticket
}

func newWorld(t *testing.T, agent *v1alpha1.Agent) *world {
	t.Helper()
	w := &world{t: t}
	ca, caKey, err := hubgateway.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := hubgateway.ServerCertificate(ca, caKey)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(w)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	w.hub = &factory.Hub{WithWatch: fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ship-1"}, Spec: v1alpha1.ClusterSpec{Agent: agent}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "skerry-system", Name: v1alpha1.GatewayConfigMap}, Data: map[string]string{
			"hubID": "hub-1", "hubKey": link.EncodeKey(agentKey.Public().(ed25519.PublicKey)), "url": server.URL, "ca.crt": string(ca),
		}},
	).Build()}
	return w
}

func joined() *v1alpha1.Agent {
	return &v1alpha1.Agent{PublicKey: link.EncodeKey(agentKey.Public().(ed25519.PublicKey))}
}

// ServeHTTP answers who has the token of the ticket on the Cluster that is named.
func (w *world) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.asked++
	namespace, name, _ := strings.Cut(r.Header.Get(link.ClusterHeader), "/")
	c := &v1alpha1.Cluster{}
	if err := w.hub.Get(r.Context(), client.ObjectKey{Namespace: namespace, Name: name}, c); err != nil {
		w.t.Error(err)
	}
	token := sha256.Sum256([]byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	hash, _, _ := strings.Cut(c.Annotations[v1alpha1.MediumTicketAnnotation], ".")
	if hash != hex.EncodeToString(token[:]) || w.asked <= w.late {
		out.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.answer(out, r)
}

// run runs `bundle ARGS` in a folder.
func (w *world) run(args ...string) (stderr string, err error) {
	w.t.Helper()
	streams, _, _, errs := iostreams.Test()
	f := &factory.Factory{IO: streams, Now: time.Now, Flags: &factory.Flags{Namespace: "fleet", Timeout: 20 * time.Second}, Hub: func() (*factory.Hub, error) { return w.hub, nil }}
	cmd := NewCmdBundle(f, nil)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(w.t.Context())
	c := &v1alpha1.Cluster{}
	if err := w.hub.Get(w.t.Context(), client.ObjectKey{Namespace: "fleet", Name: "ship-1"}, c); err != nil {
		w.t.Error(err)
	}
	if left := c.Annotations[v1alpha1.MediumTicketAnnotation]; left != "" {
		w.t.Errorf("the ticket %q stays", left)
	}
	return errs.String(), err
}

func left(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func refuse(out http.ResponseWriter, reason string) {
	frame, _ := link.EncodeFrame(link.MediumResponse{Reason: reason, Message: "because"})
	out.WriteHeader(http.StatusConflict)
	_, _ = out.Write(frame)
}

// TestExportWaitsForTheHubToSeeItsTicket, writes the file, and takes the ticket away.
func TestExportWaitsForTheHubToSeeItsTicket(t *testing.T) {
	w := newWorld(t, joined())
	w.late = 2
	busy := true
	w.answer = func(out http.ResponseWriter, _ *http.Request) {
		if busy {
			busy = false
			out.Header().Set("Retry-After", "1")
			out.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = out.Write([]byte("the file"))
	}
	file := filepath.Join(t.TempDir(), "x.skerry")
	said, err := w.run("export", "ship-1", "-o", file)
	if err != nil || !strings.Contains(said, "sealed for the agent of ship-1") {
		t.Fatalf("%v %q", err, said)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "the file" {
		t.Errorf("%q %v", got, err)
	}
}

// TestAnExportThatFailsLeavesNoFile.
func TestAnExportThatFailsLeavesNoFile(t *testing.T) {
	for name, tt := range map[string]struct {
		agent  *v1alpha1.Agent
		answer func(http.ResponseWriter, *http.Request)
		want   string
	}{
		"it is cut off": {joined(), func(out http.ResponseWriter, _ *http.Request) {
			_, _ = out.Write(bytes.Repeat([]byte("x"), 100_000))
			panic(http.ErrAbortHandler)
		}, "cut off"},
		"the hub refuses":      {joined(), func(out http.ResponseWriter, _ *http.Request) { refuse(out, v1alpha1.MediumNotExpectedReason) }, "MediumNotExpected: because"},
		"an older hub":         {joined(), func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusNotFound) }, "does not know this request"},
		"something in between": {joined(), func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusTeapot) }, "status 418"},
		"no agent has joined":  {&v1alpha1.Agent{}, nil, "has not joined yet"},
		"the hub reaches it":   {nil, nil, "has no agent"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tt.agent)
			w.answer = tt.answer
			dir := t.TempDir()
			_, err := w.run("export", "ship-1", "-o", filepath.Join(dir, "x.skerry"))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
			if got := left(t, dir); got != "" {
				t.Errorf("left behind: %s", got)
			}
		})
	}
}

func TestAReportIsHandedInForTheClusterOnItsLabel(t *testing.T) {
	w := newWorld(t, joined())
	var report, got bytes.Buffer
	l := medium.Label{Hub: "hub-1", Cluster: "fleet/ship-1", Made: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if err := medium.WriteReport(&report, l, medium.Report{Number: 1}, agentKey, agentKey.Public().(ed25519.PublicKey)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "r.skerry")
	if err := os.WriteFile(file, report.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	w.late = 1 // the file is sent again
	w.answer = func(out http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(&got, r.Body)
		frame, _ := link.EncodeFrame(link.MediumResponse{Made: l.Made, Entries: 2, Events: 3})
		_, _ = out.Write(frame)
	}
	said, err := w.run("import-report", file)
	if err != nil || !strings.Contains(said, "made at 2026-01-02T03:04:05Z by its clock: 2 kustomizations, 3 events") {
		t.Fatalf("%v %q", err, said)
	}
	if !bytes.Equal(got.Bytes(), report.Bytes()) {
		t.Error("the hub got another file")
	}
	w.answer = func(out http.ResponseWriter, _ *http.Request) { refuse(out, v1alpha1.MediumOutdatedReason) }
	if _, err := w.run("import-report", file); err == nil || !strings.Contains(err.Error(), "nothing was changed: MediumOutdated: because") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(file, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.run("import-report", file); err == nil || !strings.Contains(err.Error(), v1alpha1.MediumUnsupportedReason) {
		t.Errorf("%v", err)
	}
}
