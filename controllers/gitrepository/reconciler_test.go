package gitrepository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/testkit/settle"
)

var key = types.NamespacedName{Namespace: "fleet", Name: "config"}

// world is a hub with one GitRepository and a Git store made of closures.
type world struct {
	t       *testing.T
	client  client.Client
	events  *events.FakeRecorder
	now     time.Time
	follow  func(git.Request) (git.Commit, error)
	asked   []git.Request
	forgot  []string
	r       *Reconciler
	funcs   interceptor.Funcs
	objects []client.Object
}

func (w *world) start() {
	w.t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			w.t.Fatal(err)
		}
	}
	w.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(w.objects...).
		WithStatusSubresource(&v1alpha1.GitRepository{}).WithInterceptorFuncs(w.funcs).Build()
	w.events = events.NewFakeRecorder(10)
	w.now = time.Unix(1000, 0)
	w.r = New(Options{
		Hub: hubapi.Hub{Client: w.client}, Direct: hubapi.Direct{Reader: w.client}, Recorder: w.events,
		Follow: func(_ context.Context, req git.Request) (git.Commit, error) {
			w.asked = append(w.asked, req)
			return w.follow(req)
		},
		Forget: func(key string) error { w.forgot = append(w.forgot, key); return nil },
		Now:    func() time.Time { return w.now },
		Jitter: func() float64 { return 0 },
	})
}

func (w *world) reconcile() reconcile.Result {
	w.t.Helper()
	res, err := w.try()
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) try() (reconcile.Result, error) {
	return settle.Reconcile(w.t.Context(), w.r, w.r.statuses.Continuations, key, w.r.statuses)
}

func (w *world) get() *v1alpha1.GitRepository {
	w.t.Helper()
	repo := &v1alpha1.GitRepository{}
	if err := w.client.Get(w.t.Context(), key, repo); err != nil {
		w.t.Fatal(err)
	}
	return repo
}

func (w *world) ready() string {
	w.t.Helper()
	for _, c := range w.get().Status.Conditions {
		if c.Type == v1alpha1.ReadyCondition {
			return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
		}
	}
	return ""
}

func (w *world) said() []string {
	var all []string
	for {
		select {
		case e := <-w.events.Events:
			all = append(all, e)
		default:
			return all
		}
	}
}

func repository(change ...func(*v1alpha1.GitRepository)) *v1alpha1.GitRepository {
	repo := &v1alpha1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Generation: 1},
		Spec: v1alpha1.GitRepositorySpec{
			URL: "https://git.example/config", Interval: metav1.Duration{Duration: 10 * time.Minute},
			Timeout:   &metav1.Duration{Duration: 7 * time.Second},
			Reference: &v1alpha1.GitRepositoryRef{Branch: "main"},
		},
	}
	for _, f := range change {
		f(repo)
	}
	return repo
}

func commit(n string) git.Commit {
	return git.Commit{Revision: "main@sha1:" + n, Digest: "sha1:tree" + n, Size: 3, Fetched: true}
}

func TestFetchAndNothingNew(t *testing.T) {
	w := &world{t: t, objects: []client.Object{repository()}}
	w.start()
	w.follow = func(git.Request) (git.Commit, error) { return commit("1"), nil }
	if res := w.reconcile(); res.RequeueAfter != 10*time.Minute {
		t.Errorf("again in %s", res.RequeueAfter)
	}
	first := w.get()
	want := &v1alpha1.Artifact{Revision: "main@sha1:1", Digest: "sha1:tree1", Size: 3, LastUpdateTime: metav1.NewTime(time.Unix(1000, 0))}
	if diff := cmp.Diff(want, first.Status.Artifact); diff != "" {
		t.Errorf("artifact (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Normal NewRevision Fetched revision main@sha1:1"}, w.said()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}

	w.now = w.now.Add(10 * time.Minute)
	w.follow = func(git.Request) (git.Commit, error) { c := commit("1"); c.Fetched = false; return c, nil }
	w.reconcile()
	if diff := cmp.Diff(first.ResourceVersion, w.get().ResourceVersion); diff != "" {
		t.Error("a check that finds nothing new writes")
	}
	if said := w.said(); len(said) > 0 {
		t.Errorf("events: %v", said)
	}
	if got := w.asked[1]; got.Known != "main@sha1:1" || got.Timeout != 7*time.Second || got.Key != "fleet/config" || got.Reference.Branch != "main" {
		t.Errorf("asked for %+v", got)
	}
}

func TestAStoreThatWasLostWakesWhoRenders(t *testing.T) {
	w := &world{t: t, objects: []client.Object{repository()}}
	w.start()
	w.follow = func(git.Request) (git.Commit, error) { return commit("1"), nil }
	w.reconcile()
	before := w.get().Status.Artifact
	w.reconcile() // fetched again in the same second
	after := w.get().Status.Artifact
	if !after.LastUpdateTime.After(before.LastUpdateTime.Time) || after.Revision != before.Revision {
		t.Errorf("before %v, after %v", before, after)
	}
}

func TestFailureKeepsTheArtifactAndBacksOff(t *testing.T) {
	w := &world{t: t, objects: []client.Object{repository()}}
	w.start()
	w.follow = func(git.Request) (git.Commit, error) { return commit("1"), nil }
	w.reconcile()
	w.said()
	w.follow = func(git.Request) (git.Commit, error) {
		return git.Commit{}, fmt.Errorf("%w: git.example: connection refused", git.ErrUnreachable)
	}
	for i, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		if got := w.reconcile().RequeueAfter; got != want {
			t.Errorf("failure %d: again in %s", i+1, got)
		}
	}
	if got := w.ready(); got != "False Unreachable: unreachable: git.example: connection refused" {
		t.Errorf("ready: %s", got)
	}
	if w.get().Status.Artifact == nil {
		t.Error("the artifact is gone")
	}
	if said := w.said(); len(said) != 1 {
		t.Errorf("events: %v", said)
	}
	w.follow = func(git.Request) (git.Commit, error) { return commit("1"), nil }
	w.reconcile()
	w.follow = func(git.Request) (git.Commit, error) { return git.Commit{}, git.ErrUnreachable }
	if got := w.reconcile().RequeueAfter; got != time.Second {
		t.Errorf("after a success the first pause is %s", got)
	}
}

func TestReasons(t *testing.T) {
	for _, tt := range []struct {
		kind    error
		want    string
		stalled bool
	}{
		{git.ErrInvalidURL, "InvalidURL", true},
		{git.ErrInvalidSecret, "InvalidSecret", true},
		{git.ErrProviderConfiguration, "InvalidProviderConfiguration", true},
		{git.ErrUnsupportedProvider, "UnsupportedProvider", true},
		{git.ErrAuthenticationFailed, "AuthenticationFailed", false},
		{git.ErrHostKeyRefused, "HostKeyRefused", false},
		{git.ErrRepositoryNotFound, "RepositoryNotFound", false},
		{git.ErrEmptyRepository, "EmptyRepository", false},
		{git.ErrHistoryRewritten, "HistoryRewritten", false},
		{git.ErrInvalidReference, "InvalidReference", true},
		{git.ErrReferenceNotFound, "ReferenceNotFound", false},
		{git.ErrUnreachable, "Unreachable", false},
		{git.ErrTimeout, "Timeout", false},
		{git.ErrTooLarge, "TooLarge", false},
		{git.ErrFetchFailed, "FetchFailed", false},
		{git.ErrStoreFailed, "StorageFailed", false},
		{git.ErrObjectFormat, "UnsupportedObjectFormat", false},
	} {
		t.Run(tt.want, func(t *testing.T) {
			w := &world{t: t, objects: []client.Object{repository()}}
			w.start()
			w.follow = func(git.Request) (git.Commit, error) { return git.Commit{}, fmt.Errorf("%w: why", tt.kind) }
			w.reconcile()
			if got, want := w.ready(), fmt.Sprintf("False %s: %v: why", tt.want, tt.kind); got != want {
				t.Errorf("ready: %s, want %s", got, want)
			}
			stalled := slices.ContainsFunc(w.get().Status.Conditions, func(c metav1.Condition) bool { return c.Type == v1alpha1.StalledCondition })
			if stalled != tt.stalled {
				t.Errorf("stalled: %v", stalled)
			}
		})
	}
}

func TestAHubThatStopsReportsNothing(t *testing.T) {
	w := &world{t: t, objects: []client.Object{repository()}}
	w.start()
	w.follow = func(git.Request) (git.Commit, error) { return git.Commit{}, context.Canceled }
	if _, err := w.try(); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if w.ready() != "" {
		t.Errorf("ready: %s", w.ready())
	}
}

func TestSecret(t *testing.T) {
	named := func(r *v1alpha1.GitRepository) { r.Spec.SecretRef = &meta.LocalObjectReference{Name: "git"} }
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "git"}, Data: map[string][]byte{"password": []byte("p")}}
	w := &world{t: t, objects: []client.Object{repository(named)}}
	w.start()
	w.follow = func(git.Request) (git.Commit, error) { return commit("1"), nil }
	w.reconcile()
	if got := w.ready(); got != "False SecretNotFound: there is no Secret git" {
		t.Errorf("ready: %s", got)
	}
	if err := w.client.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if got := w.ready(); len(got) < 20 || got[:20] != "False InvalidSecret:" {
		t.Errorf("ready with half a Secret: %s", got)
	}
	if len(w.asked) > 0 {
		t.Error("a server was asked without credentials")
	}
	secret.Data["username"] = []byte("u")
	if err := w.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if got := w.ready(); got != "True Succeeded: Fetched revision main@sha1:1" {
		t.Errorf("ready: %s", got)
	}
}

func TestKeysOfASecretThatNothingReadsAreNamedOnce(t *testing.T) {
	named := func(r *v1alpha1.GitRepository) {
		r.Spec.SecretRef = &meta.LocalObjectReference{Name: "git"}
		r.Spec.ProxySecretRef = &meta.LocalObjectReference{Name: "proxy"}
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "git"}, Data: map[string][]byte{"username": []byte("u"), "note": []byte("x")}}
	proxy := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "proxy"}, Data: map[string][]byte{"address": []byte("http://proxy.example:3128"), "user": []byte("x")}}
	w := &world{t: t, objects: []client.Object{repository(named), secret, proxy}}
	w.start()
	w.follow = func(git.Request) (git.Commit, error) { return commit("1"), nil }
	w.reconcile()
	const warning = "Warning IgnoredSecretKeys Nothing reads these keys of the Secrets of secretRef and proxySecretRef: "
	if diff := cmp.Diff([]string{warning + "note, user", "Normal NewRevision Fetched revision main@sha1:1"}, w.said()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	w.reconcile()
	if said := w.said(); len(said) > 0 {
		t.Errorf("events of a repeat: %v", said)
	}
	delete(proxy.Data, "user")
	if err := w.client.Update(t.Context(), proxy); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if diff := cmp.Diff([]string{warning + "note"}, w.said()); diff != "" {
		t.Errorf("events after a change (-want +got):\n%s", diff)
	}
	if got := secretNames(w.get()); !slices.Equal(got, []string{"git", "proxy"}) {
		t.Errorf("woken by %v", got)
	}
	delete(proxy.Data, "address")
	if err := w.client.Update(t.Context(), proxy); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if got := w.ready(); got != "False InvalidSecret: invalid Secret: key address is missing: the URL of the proxy" {
		t.Errorf("ready: %s", got)
	}
	if err := w.client.Delete(t.Context(), proxy); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if got := w.ready(); got != "False SecretNotFound: there is no Secret proxy" {
		t.Errorf("ready: %s", got)
	}
}

func TestRewrittenHistoryKeepsTheArtifactUntilItIsAcknowledged(t *testing.T) {
	w := &world{t: t, objects: []client.Object{repository(func(r *v1alpha1.GitRepository) {
		r.Spec.RequireFastForward = true
		r.Spec.Reference = &v1alpha1.GitRepositoryRef{Name: "refs/heads/main", SemVer: "1.x", SemVerFilter: "^v"}
		r.Annotations = map[string]string{v1alpha1.AcceptRevisionAnnotation: "main@sha1:2"}
	})}}
	w.start()
	w.follow = func(git.Request) (git.Commit, error) { return commit("1"), nil }
	w.reconcile()
	w.said()
	w.follow = func(git.Request) (git.Commit, error) {
		return git.Commit{}, fmt.Errorf("%w: why", git.ErrHistoryRewritten)
	}
	w.reconcile()
	w.reconcile()
	if got := w.get().Status.Artifact.Revision; got != "main@sha1:1" {
		t.Errorf("artifact is %s", got)
	}
	if diff := cmp.Diff([]string{"Warning HistoryRewritten history was rewritten: why"}, w.said()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	got := w.asked[1]
	if !got.Forward.Required || got.Forward.Accept != "main@sha1:2" || got.Known != "main@sha1:1" {
		t.Errorf("asked for %+v", got)
	}
	if diff := cmp.Diff(git.Reference{Name: "refs/heads/main", SemVer: "1.x", SemVerFilter: "^v"}, got.Reference); diff != "" {
		t.Errorf("reference (-want +got):\n%s", diff)
	}
}

func TestASuspendedRepositoryIsNotChecked(t *testing.T) {
	w := &world{t: t, objects: []client.Object{repository(func(r *v1alpha1.GitRepository) { r.Spec.Suspend = true })}}
	w.start()
	if res := w.reconcile(); res.RequeueAfter != 0 {
		t.Errorf("again in %s", res.RequeueAfter)
	}
	if len(w.asked) > 0 {
		t.Error("the server was asked")
	}
	if got := w.ready(); got != "Unknown Suspended: Suspended; nothing was fetched yet" {
		t.Errorf("ready: %s", got)
	}
}

func TestADeletedOneIsForgotten(t *testing.T) {
	w := &world{t: t}
	w.start()
	w.reconcile()
	if diff := cmp.Diff([]string{"fleet/config"}, w.forgot); diff != "" {
		t.Errorf("forgot (-want +got):\n%s", diff)
	}
}

func TestConflictIsTriedAgainWithoutNoise(t *testing.T) {
	w := &world{t: t, objects: []client.Object{repository()}, funcs: interceptor.Funcs{
		SubResourceUpdate: func(context.Context, client.Client, string, client.Object, ...client.SubResourceUpdateOption) error {
			return apierrors.NewConflict(schema.GroupResource{Resource: "gitrepositories"}, "config", errors.New("changed"))
		},
	}}
	w.start()
	w.follow = func(git.Request) (git.Commit, error) { return commit("1"), nil }
	if res := w.reconcile(); res.RequeueAfter == 0 || res.RequeueAfter > time.Second {
		t.Errorf("again in %s", res.RequeueAfter)
	}
	if said := w.said(); len(said) > 0 {
		t.Errorf("events of what was not written: %v", said)
	}
}
