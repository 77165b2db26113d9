package receiver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/receiver"
	"github.com/skerry-dev/skerry/internal/testkit/settle"
)

const token = "the-token-of-this-receiver"

var key = types.NamespacedName{Namespace: "team", Name: "push"}

// world is a hub with a Receiver, its Secret and two repositories.
type world struct {
	t       *testing.T
	client  client.Client
	server  *receiver.Server
	handler http.Handler
	now     time.Time
	looked  []string
	r       *Reconciler
}

func start(t *testing.T, object *v1alpha1.Receiver, others ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, now: time.Unix(1000, 0), server: &receiver.Server{}}
	w.client = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(object).WithObjects(append(others, object)...).Build()
	w.handler = w.server.Handler()
	w.r = New(Options{
		Hub: hubapi.Hub{Client: w.client}, Direct: hubapi.Direct{Reader: w.client}, Recorder: events.NewFakeRecorder(10), Server: w.server,
		Keys: &receiver.Keys{Now: func() time.Time { return w.now }},
		Enqueue: func(name types.NamespacedName, wait time.Duration) {
			w.looked = append(w.looked, fmt.Sprintf("%s after %s", name, wait))
		},
		Now: func() time.Time { return w.now },
	})
	return w
}

func (w *world) reconcile() *v1alpha1.Receiver {
	w.t.Helper()
	if _, err := settle.Reconcile(w.t.Context(), w.r, w.r.statuses.Continuations, key, w.r.statuses); err != nil {
		w.t.Fatal(err)
	}
	object := &v1alpha1.Receiver{}
	if err := w.client.Get(w.t.Context(), key, object); client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
	return object
}

func (w *world) post(path, body string) int {
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
	return recorder.Code
}

// ready is the condition Ready in one line, and those that stand beside it.
func ready(o *v1alpha1.Receiver) string {
	var all []string
	for _, c := range o.Status.Conditions {
		if c.Type == v1alpha1.ReadyCondition {
			all = append([]string{fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)}, all...)
		} else {
			all = append(all, c.Type)
		}
	}
	return strings.Join(all, " ")
}

func object(change ...func(*v1alpha1.Receiver)) *v1alpha1.Receiver {
	r := &v1alpha1.Receiver{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Generation: 1},
		Spec: v1alpha1.ReceiverSpec{
			Type: v1alpha1.GenericReceiver, SecretRef: meta.LocalObjectReference{Name: "token"},
			Resources: []v1alpha1.ReceiverResource{{Kind: "GitRepository", Name: "config"}},
		},
	}
	for _, f := range change {
		f(r)
	}
	return r
}

// oidc lets a Receiver accept the tokens of an issuer.
func oidc(issuer, validation string) func(*v1alpha1.Receiver) {
	return func(r *v1alpha1.Receiver) {
		r.Spec.Type, r.Spec.SecretRef = v1alpha1.GenericOIDCReceiver, meta.LocalObjectReference{}
		r.Spec.OIDCProviders = []v1alpha1.OIDCProvider{{IssuerURL: issuer, Validations: []v1alpha1.OIDCValidation{{Expression: validation, Message: "x"}}}}
	}
}

func secret(value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "token"}, Data: map[string][]byte{"token": []byte(value)}}
}

func repository(namespace, name string, change ...func(*v1alpha1.GitRepository)) *v1alpha1.GitRepository {
	g := &v1alpha1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"tier": name}}}
	for _, f := range change {
		f(g)
	}
	return g
}

func TestAWebhookFetchesTheSourceAndWritesNothing(t *testing.T) {
	w := start(t, object(), secret(token), repository("team", "config"))
	o := w.reconcile()
	if o.Status.WebhookPath != o.WebhookPathFor(token) || ready(o) != "True Succeeded: Accepts webhooks" || o.Status.ObservedGeneration != 1 {
		t.Errorf("%s at %q", ready(o), o.Status.WebhookPath)
	}
	if again := w.reconcile(); again.ResourceVersion != o.ResourceVersion {
		t.Error("a reconcile that changes nothing writes")
	}
	before := &v1alpha1.GitRepository{}
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: "team", Name: "config"}, before); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if code := w.post(o.Status.WebhookPath, ""); code != 200 {
			t.Error(code)
		}
	}
	if diff := cmp.Diff([]string{"team/config after 0s", "team/config after 1s"}, w.looked); diff != "" {
		t.Error(diff)
	}
	after := &v1alpha1.GitRepository{}
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: "team", Name: "config"}, after); err != nil || after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the source was written: %v", err)
	}
}

func TestThePathFollowsTheToken(t *testing.T) {
	w := start(t, object(), secret(token), repository("team", "config"))
	first := w.reconcile().Status.WebhookPath
	if err := w.client.Update(t.Context(), secret(token+"2")); err != nil {
		t.Fatal(err)
	}
	second := w.reconcile().Status.WebhookPath
	if got := []int{w.post(first, ""), w.post(second, "")}; !slices.Equal(got, []int{404, 200}) {
		t.Error(got)
	}
	if err := w.client.Delete(t.Context(), secret("")); err != nil {
		t.Fatal(err)
	}
	o := w.reconcile()
	if code := w.post(second, ""); code != 404 || o.Status.WebhookPath != "" || !strings.HasPrefix(ready(o), "False SecretNotFound: the Secret token is not there") {
		t.Errorf("%d, %s", code, ready(o))
	}
	if err := w.client.Create(t.Context(), secret(token)); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if err := w.client.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if code := w.post(first, ""); code != 404 {
		t.Errorf("deleted: %d", code)
	}
}

func TestWhatCannotBeAcceptedIsNamed(t *testing.T) {
	for want, tt := range map[string]struct {
		token  string
		change func(*v1alpha1.Receiver)
	}{
		"False InvalidSecret: the Secret token has no key token":                                                                      {"", func(*v1alpha1.Receiver) {}},
		"False InvalidSecret: the token of the Secret token is shorter than 16 bytes":                                                 {"short", func(*v1alpha1.Receiver) {}},
		"True Succeeded: Accepts webhooks":                                                                                            {"short", func(r *v1alpha1.Receiver) { r.Spec.Type = v1alpha1.GitHubReceiver }},
		"False InvalidCELExpression: spec.resourceFilter or spec.resources[0].filter":                                                 {token, func(r *v1alpha1.Receiver) { r.Spec.ResourceFilter = "res." }},
		"False InvalidCELExpression: spec.resourceFilter or spec.resources[0].filter: cannot ":                                        {token, func(r *v1alpha1.Receiver) { r.Spec.Resources[0].Filter = "1" }},
		"False InvalidSelector: spec.resources[0].matchLabels":                                                                        {token, func(r *v1alpha1.Receiver) { r.Spec.Resources[0].MatchLabels = map[string]string{"a b": ""} }},
		"Unknown Suspended: Suspended; webhooks are refused":                                                                          {token, func(r *v1alpha1.Receiver) { r.Spec.Suspend = true }},
		"False InvalidSecret: the Secret token has no key email or no key audience":                                                   {token, func(r *v1alpha1.Receiver) { r.Spec.Type = v1alpha1.GCRReceiver }},
		"False InvalidProviderConfiguration: spec.oidcProviders[0].issuerURL: the hub fetches no keys of this issuer: the hub's flag": {"", func(r *v1alpha1.Receiver) { oidc("https://10.0.0.1", "true")(r) }},
		"False InvalidCELExpression: spec.oidcProviders[0]: validations[0]":                                                           {"", func(r *v1alpha1.Receiver) { oidc(receiver.GitHubActionsIssuer, "claims.")(r) }},
		"True Succeeded: Accepts webhooks ":                                                                                           {"", func(r *v1alpha1.Receiver) { oidc(receiver.GitHubActionsIssuer, "claims.x == 'y'")(r) }},
		"True Succeeded: Accepts webhooks; spec.events is ignored":                                                                    {token, func(r *v1alpha1.Receiver) { r.Spec.Events = []string{"push"} }},
	} {
		w := start(t, object(tt.change), secret(tt.token), repository("team", "config"))
		o := w.reconcile()
		if got := ready(o); !strings.HasPrefix(got, strings.TrimSpace(want)) || strings.HasPrefix(want, "False") != strings.HasSuffix(got, v1alpha1.StalledCondition) {
			t.Errorf("%s, want %s", got, want)
		}
		if strings.HasPrefix(want, "False") && o.Status.WebhookPath != "" {
			t.Errorf("%s: there is a path", want)
		}
	}
}

func TestWhichSourcesAWebhookFetches(t *testing.T) {
	elsewhere := func(r *v1alpha1.Receiver) {
		r.Spec.Resources = []v1alpha1.ReceiverResource{{Kind: "GitRepository", Name: "shared", Namespace: "infra"}, {Kind: "GitRepository", Name: "config"}}
	}
	for name, tt := range map[string]struct {
		change func(*v1alpha1.Receiver)
		closed bool
		acl    map[string]string
		code   int
		want   []string
	}{
		"another namespace of an open hub":      {elsewhere, false, nil, 200, []string{"infra/shared", "team/config"}},
		"another namespace of a closed hub":     {elsewhere, true, nil, 500, []string{"team/config"}},
		"accessFrom admits in a closed hub":     {elsewhere, true, map[string]string{"team": "yes"}, 200, []string{"infra/shared", "team/config"}},
		"accessFrom does not admit in any":      {elsewhere, false, map[string]string{"team": "no"}, 500, []string{"team/config"}},
		"one that is not there, before another": {func(r *v1alpha1.Receiver) { elsewhere(r); r.Spec.Resources[0].Name = "none" }, false, nil, 500, []string{"team/config"}},
		"by labels": {func(r *v1alpha1.Receiver) {
			r.Spec.Resources = []v1alpha1.ReceiverResource{{Kind: "GitRepository", Name: "*", MatchLabels: map[string]string{"tier": "web"}}}
		}, false, nil, 200, []string{"team/web"}},
		"by a filter over the resource": {func(r *v1alpha1.Receiver) {
			r.Spec.Resources = []v1alpha1.ReceiverResource{{Kind: "GitRepository", Name: "web"}, {Kind: "GitRepository", Name: "config"}}
			r.Spec.ResourceFilter = `res.metadata.name == req.name`
		}, false, nil, 200, []string{"team/web"}},
		"by a filter of one resource": {func(r *v1alpha1.Receiver) {
			r.Spec.Resources = []v1alpha1.ReceiverResource{{Kind: "GitRepository", Name: "web", Filter: `req.name == "x"`}, {Kind: "GitRepository", Name: "config"}}
		}, false, nil, 200, []string{"team/config"}},
		"by a filter over a field that the body lacks": {func(r *v1alpha1.Receiver) { r.Spec.ResourceFilter = `req.other == "x"` }, false, nil, 500, nil},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team", Labels: map[string]string{"team": "yes"}}}
			w := start(t, object(tt.change), secret(token), namespace, repository("team", "config"), repository("team", "web"), repository("infra", "shared", func(g *v1alpha1.GitRepository) {
				if tt.acl != nil {
					g.Spec.AccessFrom = &v1alpha1.AccessFrom{NamespaceSelectors: []v1alpha1.NamespaceSelector{{MatchLabels: tt.acl}}}
				}
			}))
			w.r.NoCrossNamespaceRefs = tt.closed
			code := w.post(w.reconcile().Status.WebhookPath, `{"name": "web"}`)
			var got []string
			for _, line := range w.looked {
				got = append(got, strings.TrimSuffix(line, " after 0s"))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || code != tt.code {
				t.Errorf("%d: %s", code, diff)
			}
		})
	}
}

// fluxReceiver is a Receiver of Flux with every field, but for its group and version.
const fluxReceiver = `
apiVersion: skerry.dev/v1alpha1
kind: Receiver
metadata: {name: push, namespace: team, generation: 3, annotations: {skerry.dev/reconcile-requested-at: now}}
spec:
  type: github
  interval: 10m
  events: [ping, push]
  secretRef: {name: token}
  suspend: false
  resourceFilter: "true"
  resources:
  - {apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, name: config, namespace: team, filter: "true"}
  - {kind: GitRepository, name: "*", matchLabels: {tier: web}}
`

func TestFieldsOfFluxAreTakenAsTheyAre(t *testing.T) {
	r := &v1alpha1.Receiver{}
	if err := yaml.UnmarshalStrict([]byte(fluxReceiver), r); err != nil {
		t.Fatal(err)
	}
	w := start(t, r, secret(token))
	o := w.reconcile()
	if s := o.Spec; s.Type != v1alpha1.GitHubReceiver || s.Interval.Duration != 10*time.Minute || s.SecretRef.Name != "token" ||
		s.Resources[0].APIVersion != "source.toolkit.fluxcd.io/v1" || s.Resources[0].Kind != "GitRepository" {
		t.Errorf("%+v", s)
	}
	if got := "Ready=" + ready(o); got != "Ready=True Succeeded: Accepts webhooks" {
		t.Error(got)
	}
	if s := o.Status; s.LastHandledReconcileAt != "now" || s.ObservedGeneration != 3 {
		t.Errorf("handled %q, generation: %d", s.LastHandledReconcileAt, s.ObservedGeneration)
	}
}
