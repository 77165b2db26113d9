package cluster

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/pacing"
	"github.com/skerry-dev/skerry/internal/testkit/settle"
)

var key = types.NamespacedName{Namespace: "fleet", Name: "edge-1"}

// pool knows of a cluster what the test says.
type pool struct {
	engine.Pooled
	state        engine.State
	conn         *engine.Connection
	connects     int
	verified     int
	disconnected int
	retired      int
	retireErr    error
	retire       func() error
	// begun counts the sessions, and claimed says that one has claimed the cluster since the last of it was taken away.
	begun   int
	claimed bool
}

func (p *pool) State(engine.Key) (engine.State, bool) { return p.state, p.conn != nil }
func (p *pool) Connect(_ engine.Key, c engine.Connection) {
	if p.conn == nil {
		p.begun++
		p.claimed = p.claimed || p.state.Usable
	}
	p.conn = &c
	p.connects++
}
func (p *pool) Disconnect(engine.Key) { p.conn, p.disconnected = nil, p.disconnected+1 }
func (p *pool) Verify(engine.Key)     { p.verified++ }

type world struct {
	t         *testing.T
	client    client.Client
	pool      *pool
	now       time.Time
	gets      int // of Secrets' contents
	connected int
	ahead     int // decisions and reports that wait to be written
	funcs     interceptor.Funcs
	r         *Reconciler
}

func start(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, pool: &pool{}, now: time.Unix(10000, 0)}
	w.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&v1alpha1.Cluster{}, &v1alpha1.Assignment{}).
		WithInterceptorFuncs(interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if _, whole := o.(*corev1.Secret); whole {
				w.gets++
			}
			return c.Get(ctx, k, o, opts...)
		}, Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if f := w.funcs.Patch; f != nil {
				return f(ctx, c, o, p, opts...)
			}
			return c.Patch(ctx, o, p, opts...)
		}, SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			if f := w.funcs.SubResourceUpdate; f != nil {
				return f(ctx, c, sub, o, opts...)
			}
			return c.SubResource(sub).Update(ctx, o, opts...)
		}}).Build()
	w.r = New(Options{
		Hub: hubapi.Hub{Client: w.client}, Direct: hubapi.Direct{Reader: w.client}, Recorder: events.NewFakeRecorder(100),
		Pool: w.pool, Local: &rest.Config{Host: "https://hub"}, Now: func() time.Time { return w.now },
		Connected: func(engine.Key) { w.connected++ }, Ahead: func() int { return w.ahead },
	})
	return w
}

func (w *world) reconcile() reconcile.Result {
	w.t.Helper()
	res, err := w.try()
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// try reconciles, and again when a renewal of a token has ended, as that asks for.
func (w *world) try() (reconcile.Result, error) {
	before := w.lastRenewal()
	result, err := settle.Reconcile(w.t.Context(), w.r, w.r.statuses.Continuations, key, purges{w.r}, w.r.statuses)
	if err != nil || w.lastRenewal() == before {
		return result, err
	}
	w.r.renewals.running.Wait()
	return settle.Reconcile(w.t.Context(), w.r, w.r.statuses.Continuations, key, purges{w.r}, w.r.statuses)
}

// purges are waited for as writes are.
type purges struct{ r *Reconciler }

func (p purges) Drain(context.Context) error { p.r.purges.Wait(); return nil }

func (w *world) lastRenewal() *renewal {
	w.r.renewals.mu.Lock()
	defer w.r.renewals.mu.Unlock()
	return w.r.renewals.last[key]
}

func (w *world) get() *v1alpha1.Cluster {
	w.t.Helper()
	c := &v1alpha1.Cluster{}
	if err := w.client.Get(w.t.Context(), key, c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) says(kind string) string {
	w.t.Helper()
	for _, c := range w.get().Status.Conditions {
		if c.Type == kind {
			return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
		}
	}
	return ""
}

func cluster(change ...func(*v1alpha1.Cluster)) *v1alpha1.Cluster {
	c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Generation: 1}}
	c.Spec.KubeConfig = &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: "edge-1"}}
	for _, f := range change {
		f(c)
	}
	return c
}

func secret(key, kubeconfig string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "edge-1"},
		Data:       map[string][]byte{key: []byte(kubeconfig)},
	}
}

const testKubeconfig = `
current-context: a
contexts: [{name: a, context: {cluster: a, user: a}}]
clusters: [{name: a, cluster: {server: "https://edge-1:6443"}}]
users: [{name: a, user: {token: t}}]`

var well = engine.State{Reachable: true, Known: true, Usable: true, UID: "u1", Version: "v1.36.3", LastSeen: time.Unix(9999, 0)}

func TestConnects(t *testing.T) {
	w := start(t, cluster(), secret("value", testKubeconfig))
	w.reconcile()
	if got := w.says("Ready"); got != "Unknown Progressing: The cluster is being tried for the first time" {
		t.Errorf("ready: %s", got)
	}
	w.pool.state = well
	if res := w.reconcile(); res.RequeueAfter < 4*time.Minute || res.RequeueAfter > 7*time.Minute {
		t.Errorf("again in %s", res.RequeueAfter)
	}
	if got := w.says("Ready"); got != "True Succeeded: Connected to Kubernetes v1.36.3" {
		t.Errorf("ready: %s", got)
	}
	status := w.get().Status
	if status.UID != "u1" || status.Version != "v1.36.3" || status.LastSeen == nil {
		t.Errorf("status %+v", status)
	}
	if w.pool.conn.Config.Host != "https://edge-1:6443" || w.pool.conn.Local {
		t.Errorf("connection %+v", w.pool.conn)
	}
	w.reconcile()
	if w.pool.conn.KnownUID != "u1" {
		t.Errorf("the pool is told of uid %q", w.pool.conn.KnownUID)
	}
	if w.gets != 1 || w.connected != 1 {
		t.Errorf("the Secret was read %d times, an engine announced %d times", w.gets, w.connected)
	}
}

func TestSecrets(t *testing.T) {
	w := start(t, cluster())
	w.reconcile()
	if got := w.says("Ready"); got != "False SecretNotFound: there is no Secret edge-1" {
		t.Errorf("ready: %s", got)
	}
	s := secret("other", testKubeconfig)
	if err := w.client.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if got := w.says("Ready"); got != "False InvalidKubeConfig: the Secret edge-1 has neither the key value nor value.yaml" {
		t.Errorf("ready: %s", got)
	}
	s.Data = map[string][]byte{"value.yaml": []byte("users: [{name: a, user: {exec: {command: x}}}]")}
	if err := w.client.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if got := w.says("Stalled"); got != "True InvalidKubeConfig: kubeconfig: current-context is missing" {
		t.Errorf("stalled: %s", got)
	}
	if w.pool.connects > 0 {
		t.Error("connected without a kubeconfig")
	}
	s.Data = map[string][]byte{"value.yaml": []byte(testKubeconfig)}
	if err := w.client.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.pool.state = well
	w.reconcile()
	if got := w.says("Ready"); got != "True Succeeded: Connected to Kubernetes v1.36.3" {
		t.Errorf("ready: %s", got)
	}
	first := w.pool.conn.Fingerprint
	s.Data = map[string][]byte{"value": []byte(testKubeconfig[:len(testKubeconfig)-len("{token: t}}]")] + "{token: u}}]")}
	if err := w.client.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if w.pool.conn.Fingerprint == first {
		t.Error("a new token leaves the fingerprint")
	}
	if err := w.client.Delete(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	before := w.pool.disconnected
	w.reconcile()
	if got := w.says("Ready"); got != "False SecretNotFound: there is no Secret edge-1" || w.pool.disconnected == before {
		t.Errorf("ready: %s, disconnected %d times", got, w.pool.disconnected-before)
	}
}

func TestNoValueOfAKubeconfigIsReported(t *testing.T) {
	token := base64.StdEncoding.EncodeToString([]byte("s3cr3t"))
	for _, bad := range []string{"{" + token, "[" + token + "]", testKubeconfig + "\ntoken: [" + token} {
		w := start(t, cluster(), secret("value", bad))
		w.reconcile()
		if got := w.says("Ready"); len(got) < 24 || got[:24] != "False InvalidKubeConfig:" || strings.Contains(got, token) {
			t.Errorf("ready: %s", got)
		}
	}
}

func TestTheHubsOwn(t *testing.T) {
	w := start(t, cluster(func(c *v1alpha1.Cluster) { c.Spec.KubeConfig = nil; c.Spec.Suspend = true }))
	w.pool.state = well
	w.reconcile()
	if !w.pool.conn.Local || w.pool.conn.Config.Host != "https://hub" || !w.pool.conn.Suspend {
		t.Errorf("connection %+v", w.pool.conn)
	}
	if got := w.says("Ready"); got != "Unknown Suspended: Suspended; the cluster is left as it is" {
		t.Errorf("ready: %s", got)
	}
}

func TestAgent(t *testing.T) {
	w := start(t, cluster(func(c *v1alpha1.Cluster) {
		c.Spec.KubeConfig, c.Spec.Agent = nil, &v1alpha1.Agent{PublicKey: "key"}
		c.Annotations = map[string]string{v1alpha1.AgentApprovedAnnotation: "SHA256:x"}
	}))
	w.pool.state = engine.State{Known: true, Reason: v1alpha1.AgentNotConnectedReason, Message: "waits for an agent to join", Agent: link.AgentInfo{Pending: true}}
	w.reconcile()
	if w.pool.conn.Agent == nil || w.pool.conn.Agent.PublicKey != "key" || w.pool.conn.ApprovedKey != "SHA256:x" || w.pool.conn.Config != nil {
		t.Errorf("connection %+v", w.pool.conn)
	}
	if got := w.says("Reachable"); got != "Unknown AgentNotConnected: waits for an agent to join" {
		t.Errorf("reachable: %s", got)
	}
	w.pool.state = well
	w.pool.state.Agent = link.AgentInfo{Connected: true, Since: time.Unix(100, 0), Version: "v1\x1b[2J", Fingerprint: "SHA256:x"}
	w.reconcile()
	since := metav1.Unix(100, 0)
	want := &v1alpha1.AgentStatus{Version: "v1 [2J", KeyFingerprint: "SHA256:x", ConnectedSince: &since}
	if diff := cmp.Diff(want, w.get().Status.Agent); diff != "" {
		t.Error(diff)
	}
}

func TestGone(t *testing.T) {
	w := start(t)
	w.reconcile()
	if w.pool.disconnected != 1 {
		t.Errorf("disconnected %d times", w.pool.disconnected)
	}
}

func TestRequest(t *testing.T) {
	asking := func(c *v1alpha1.Cluster) {
		c.Annotations = map[string]string{v1alpha1.ReconcileRequestAnnotation: "now"}
	}
	t.Run("handled by the next answer", func(t *testing.T) {
		w := start(t, cluster(asking), secret("value", testKubeconfig))
		w.pool.state = well
		if res := w.reconcile(); res.RequeueAfter != answerPollInterval || w.pool.verified != 1 {
			t.Errorf("again in %s, %d probes", res.RequeueAfter, w.pool.verified)
		}
		if w.reconcile(); w.get().Status.LastHandledReconcileAt != "" {
			t.Error("handled by an answer from before")
		}
		w.pool.state.LastSeen = w.now.Add(time.Second)
		if res := w.reconcile(); w.get().Status.LastHandledReconcileAt != "now" || res.RequeueAfter < 4*time.Minute || w.pool.verified != 1 {
			t.Errorf("handled %q, again in %s, %d probes", w.get().Status.LastHandledReconcileAt, res.RequeueAfter, w.pool.verified)
		}
	})
	t.Run("handled in time though nobody answers", func(t *testing.T) {
		w := start(t, cluster(asking), secret("value", testKubeconfig))
		w.pool.state = engine.State{Known: true, Reason: "Unreachable", Message: "connection refused"}
		w.reconcile()
		w.now = w.now.Add(answerWithin)
		if w.reconcile(); w.get().Status.LastHandledReconcileAt != "now" {
			t.Error("not handled")
		}
	})
	t.Run("handled at once where there is nobody to ask", func(t *testing.T) {
		w := start(t, cluster(asking))
		if w.reconcile(); w.get().Status.LastHandledReconcileAt != "now" {
			t.Error("not handled")
		}
	})
}

func TestOnlyNewsOfTheConnectionWake(t *testing.T) {
	w := start(t, cluster(), secret("value", testKubeconfig))
	w.pool.state = well
	w.reconcile()
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	if err := w.r.trigger.Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	w.pool.state.LastSeen = w.pool.state.LastSeen.Add(time.Minute)
	if w.r.Changed(key); queue.Len() != 0 {
		t.Error("woken by an answer")
	}
	w.pool.state.Reachable = false
	if w.r.Changed(key); queue.Len() != 1 {
		t.Error("not woken by a loss")
	}
}

func TestStatusIsWrittenWhenItSaysSomethingNew(t *testing.T) {
	w := start(t, cluster(), secret("value", testKubeconfig))
	w.pool.state = well
	w.reconcile()
	before := w.get().ResourceVersion
	w.pool.state.LastSeen = w.pool.state.LastSeen.Add(time.Minute)
	w.now = w.now.Add(time.Minute)
	w.reconcile()
	if diff := cmp.Diff(before, w.get().ResourceVersion); diff != "" {
		t.Error("written")
	}
}

// TestLastSeenYieldsToDecisionsAndReports: for as long as many of them wait, up to two minutes, and not when
// there is something else to say.
func TestLastSeenYieldsToDecisionsAndReports(t *testing.T) {
	w := start(t, cluster(), secret("value", testKubeconfig))
	w.pool.state = well
	w.reconcile()
	passes := func(d time.Duration) (seen time.Time, again time.Duration) {
		t.Helper()
		w.now = w.now.Add(d)
		if w.pool.state.Reachable {
			w.pool.state.LastSeen = w.now
		}
		res := w.reconcile()
		return w.get().Status.LastSeen.Time, res.RequeueAfter
	}
	heard := func() time.Time { return w.pool.state.LastSeen }
	before := heard()
	w.ahead = pacing.YieldAhead + 1
	if seen, again := passes(5 * time.Minute); !seen.Equal(before) || again != pacing.LastSeenRetry {
		t.Errorf("while many wait: written %s later, again in %s", seen.Sub(before), again)
	}
	if seen, again := passes(pacing.LastSeenMaxDelay - time.Second); !seen.Equal(before) || again != time.Second {
		t.Errorf("a second before the end: written %s later, again in %s", seen.Sub(before), again)
	}
	if seen, again := passes(time.Second); !seen.Equal(heard()) || again < 4*time.Minute {
		t.Errorf("after two minutes: %s old, again in %s", heard().Sub(seen), again)
	}
	before = heard()
	if seen, _ := passes(5 * time.Minute); !seen.Equal(before) {
		t.Error("the next one does not yield")
	}
	w.ahead = pacing.YieldAhead
	if seen, _ := passes(pacing.LastSeenRetry); !seen.Equal(heard()) {
		t.Error("not written when the others are through")
	}
	w.ahead = pacing.YieldAhead + 1
	passes(5 * time.Minute)
	w.pool.state.Reachable, w.pool.state.Message = false, "connection refused"
	lost := heard()
	if seen, _ := passes(time.Second); !seen.Equal(lost) || w.says("Reachable") != "False Unreachable: connection refused" {
		t.Errorf("a loss waits: %s, seen %s before", w.says("Reachable"), lost.Sub(seen))
	}
	if len(w.r.yielding) > 0 {
		t.Error("what is written is remembered as waiting")
	}
}
