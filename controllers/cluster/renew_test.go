package cluster

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/kubeconfig"
	"github.com/skerry-dev/skerry/internal/testkit/settle"
)

func token(issued time.Time) string { return tokenFor(issued, 3*time.Hour) }

func tokenFor(issued time.Time, lifetime time.Duration) string {
	claims := fmt.Sprintf(`{"sub":"system:serviceaccount:skerry-system:skerry-hub","iat":%d,"exp":%d}`, issued.Unix(), issued.Add(lifetime).Unix())
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

// issuer is an API server that issues tokens to who shows the one before.
type issuer struct {
	*httptest.Server
	now     *time.Time
	current string
	asked   []string // seconds
	refuses bool
	limit   time.Duration // of what is issued; zero: 3 hours
	asks    func()        // called before a token is issued; nil: nothing
}

func newIssuer(t *testing.T, now *time.Time) *issuer {
	s := &issuer{now: now, current: token(*now)}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Spec struct{ ExpirationSeconds int }
		}
		_ = json.NewDecoder(r.Body).Decode(&body)
		s.asked = append(s.asked, fmt.Sprintf("%s %s %d", r.Method, r.URL.Path, body.Spec.ExpirationSeconds))
		w.Header().Set("Content-Type", "application/json")
		if s.refuses || r.Header.Get("Authorization") != "Bearer "+s.current {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"no"}`))
			return
		}
		if s.asks != nil {
			s.asks()
		}
		s.current = tokenFor(*s.now, cmp.Or(s.limit, 3*time.Hour))
		_, _ = fmt.Fprintf(w, `{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","status":{"token":%q}}`, s.current)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *issuer) secret(renew string) *corev1.Secret {
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	secret := &corev1.Secret{Data: map[string][]byte{"value": []byte(fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: edge
contexts: [{name: edge, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: u, user: {token: %s}}]
`, s.URL, ca, s.current))}}
	secret.Namespace, secret.Name = key.Namespace, "edge-1"
	secret.Annotations = map[string]string{v1alpha1.RenewTokenAnnotation: renew}
	return secret
}

func (w *world) token() string {
	w.t.Helper()
	secret := &corev1.Secret{}
	if err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: key.Namespace, Name: "edge-1"}, secret); err != nil {
		w.t.Fatal(err)
	}
	config, _, err := kubeconfig.Parse(secret.Data["value"])
	if err != nil {
		w.t.Fatal(err)
	}
	return config.BearerToken
}

// A token is renewed when a third of its life is over, and not before, by the token in use; the Secret has the next one,
// and the hub connects with it.
func TestATokenIsRenewedBeforeItExpires(t *testing.T) {
	now := time.Unix(10000, 0)
	s := newIssuer(t, &now)
	w := start(t, cluster(), s.secret("enabled"))
	w.r.Now = func() time.Time { return now }
	w.pool.state = engine.State{Known: true, Reachable: true, Usable: true, UID: "u"}
	first := s.current
	w.reconcile()
	if len(s.asked) > 0 || w.token() != first {
		t.Fatalf("at once: %v", s.asked)
	}
	now = now.Add(time.Hour)
	w.reconcile()
	if len(s.asked) != 1 || s.asked[0] != "POST /api/v1/namespaces/skerry-system/serviceaccounts/skerry-hub/token 10800" {
		t.Fatalf("asked %v", s.asked)
	}
	if got := w.token(); got == first || got != s.current {
		t.Errorf("the Secret has %s", got)
	}
	w.reconcile()
	if got := w.pool.conn.Config.BearerToken; got != s.current || len(s.asked) != 1 {
		t.Errorf("connected with %s after %v", got, s.asked)
	}
}

// A cluster whose link is dead while its token is renewed holds no worker: the reconcile ends, another one of the same
// Cluster does not renew once more.
func TestARenewalHoldsNoReconcile(t *testing.T) {
	now := time.Unix(10000, 0)
	s := newIssuer(t, &now)
	w := start(t, cluster(), s.secret("enabled"))
	now = now.Add(time.Hour)
	w.r.Now, w.pool.state = func() time.Time { return now }, engine.State{Known: true, Reachable: true, Usable: true}
	answer, asked := make(chan struct{}), make(chan struct{}, 2)
	s.asks = func() { asked <- struct{}{}; <-answer }
	for range 2 {
		if _, err := settle.Reconcile(t.Context(), w.r, w.r.statuses.Continuations, key, w.r.statuses); err != nil {
			t.Fatal(err)
		}
	}
	<-asked
	first := w.token()
	close(answer)
	w.r.renewals.running.Wait()
	if got := w.token(); got == first || len(s.asked) != 1 {
		t.Errorf("asked %v, and the Secret has %s", s.asked, got)
	}
}

func TestATokenIsNotRenewed(t *testing.T) {
	for what, tt := range map[string]struct {
		annotation string
		state      engine.State
	}{
		"without being asked to":           {"", engine.State{Known: true, Reachable: true, Usable: true}},
		"of a cluster that is not reached": {"enabled", engine.State{Known: true}},
		"of a cluster of another":          {"enabled", engine.State{Known: true, Reachable: true}},
	} {
		now := time.Unix(10000, 0)
		s := newIssuer(t, &now)
		w := start(t, cluster(), s.secret(tt.annotation))
		now = now.Add(2 * time.Hour)
		w.r.Now, w.pool.state = func() time.Time { return now }, tt.state
		if w.reconcile(); len(s.asked) > 0 {
			t.Errorf("%s: %v", what, s.asked)
		}
	}
}

// A renewal that fails is told of without the token, and tried again after a pause.
func TestARenewalThatFailsIsReported(t *testing.T) {
	now := time.Unix(10000, 0)
	s := newIssuer(t, &now)
	w := start(t, cluster(), s.secret("enabled"))
	s.refuses = true
	now = now.Add(time.Hour)
	w.r.Now, w.pool.state = func() time.Time { return now }, engine.State{Known: true, Reachable: true, Usable: true}
	w.reconcile()
	w.reconcile()
	if len(s.asked) != 1 {
		t.Errorf("asked %v", s.asked)
	}
	told := w.told() + " " + w.told()
	if !strings.Contains(told, v1alpha1.TokenRenewalFailedReason) || !strings.Contains(told, "1970-01-01T05:46:40Z") || strings.Contains(told, s.current) {
		t.Errorf("told %q", told)
	}
	now, s.refuses = now.Add(renewRetry), false
	w.reconcile()
	if len(s.asked) != 2 || w.token() != s.current {
		t.Errorf("asked %v", s.asked)
	}
}

// A kubeconfig that a person writes while the token of the one before is renewed stays as it is: the token is that of
// another cluster, say.
func TestARenewedTokenIsNotWrittenIntoAnotherKubeconfig(t *testing.T) {
	now := time.Unix(10000, 0)
	s := newIssuer(t, &now)
	w := start(t, cluster(), s.secret("enabled"))
	now = now.Add(time.Hour)
	w.r.Now, w.pool.state = func() time.Time { return now }, engine.State{Known: true, Reachable: true, Usable: true}
	later := now.Add(time.Minute)
	another := newIssuer(t, &later)
	s.asks = func() {
		secret := &corev1.Secret{}
		if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: key.Namespace, Name: "edge-1"}, secret); err != nil {
			t.Error(err)
		}
		secret.Data = another.secret("enabled").Data
		if err := w.client.Update(t.Context(), secret); err != nil {
			t.Error(err)
		}
	}
	w.reconcile()
	if got := w.token(); len(s.asked) != 1 || got != another.current {
		t.Errorf("asked %v, and the Secret has %s", s.asked, got)
	}
}

// A cluster may issue a token that lives shorter than the one before: that one's life says when it is renewed.
func TestATokenThatLivesShorterIsRenewedInTime(t *testing.T) {
	now := time.Unix(10000, 0)
	s := newIssuer(t, &now)
	w := start(t, cluster(), s.secret("enabled"))
	now = now.Add(time.Hour)
	w.r.Now, w.pool.state = func() time.Time { return now }, engine.State{Known: true, Reachable: true, Usable: true}
	s.limit = 30 * time.Minute
	w.reconcile()
	now = now.Add(11 * time.Minute)
	w.reconcile()
	if len(s.asked) != 2 || w.token() != s.current {
		t.Errorf("asked %v", s.asked)
	}
}
