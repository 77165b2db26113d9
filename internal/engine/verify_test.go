package engine

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/edgeproxy"
)

func interval(d time.Duration) func(*v1alpha1.AssignmentEntry) {
	return func(e *v1alpha1.AssignmentEntry) { e.Interval.Duration = d }
}

func TestListDiffersFromWhatIsKnown(t *testing.T) {
	at := watchScope{GroupKind: schema.GroupKind{Kind: "ConfigMap"}}
	id := func(name string) object.ID { return object.ID{Kind: "ConfigMap", Namespace: "apps", Name: name} }
	seen := func(name, version string) edge.Observed {
		return edge.Observed{ID: id(name), UID: "u-" + name, ResourceVersion: version}
	}
	listed := func(name, version string) edge.Version {
		return edge.Version{ID: id(name), UID: "u-" + name, ResourceVersion: version}
	}
	l := newLive()
	l.listed(at, []edge.Observed{seen("a", "5"), seen("b", "6")}, 0)
	for name, tt := range map[string]struct {
		all  []edge.Version
		at   string
		want bool
	}{
		"the same":                                {[]edge.Version{listed("a", "5"), listed("b", "6")}, "9", false},
		"one more":                                {[]edge.Version{listed("a", "5"), listed("b", "6"), listed("c", "7")}, "9", true},
		"one less":                                {[]edge.Version{listed("a", "5")}, "9", true},
		"one changed":                             {[]edge.Version{listed("a", "8"), listed("b", "6")}, "9", true},
		"one at an earlier version":               {[]edge.Version{listed("a", "3"), listed("b", "6")}, "9", true},
		"one that was created anew":               {[]edge.Version{listed("a", "5"), {ID: id("b"), UID: "other", ResourceVersion: "6"}}, "9", true},
		"a list from before one was changed":      {[]edge.Version{listed("a", "5"), listed("b", "2")}, "5", false},
		"a list from before one was created":      {[]edge.Version{listed("a", "5")}, "5", false},
		"versions that are no numbers, and known": {[]edge.Version{listed("a", "5"), listed("b", "6")}, "x", false},
	} {
		if got := l.differs(at, tt.all, tt.at); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A watch that is stuck while its connection lives hides what happens on the cluster until the interval,
// when the cluster is asked; then the watch is replaced.
func TestStuckWatchHidesDriftUntilTheInterval(t *testing.T) {
	proxy := edgeproxy.New(t, controlplane.Shared(t).RESTConfig())
	r := newRig(t, testHub, proxy.Config())
	r.want("apps", many(r, 3, "one"), interval(2*time.Second))
	r.ready("apps")
	proxy.FreezeOpen(edgeproxy.IsWatch)
	if err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Delete(t.Context(), "cm-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("what was deleted is put back", func() bool { return r.value("cm-1") == "one" })
}

// The same where no watch at all brings anything, as behind a proxy that gathers answers before it hands
// them on: verifiedAt moves with the lists.
func TestWatchesThatNeverBringAnything(t *testing.T) {
	proxy := edgeproxy.New(t, controlplane.Shared(t).RESTConfig())
	r := newRig(t, testHub, proxy.Config())
	r.want("apps", many(r, 3, "one"), interval(2*time.Second))
	before := r.ready("apps").VerifiedAt
	proxy.Freeze(edgeproxy.IsWatch)
	if err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Delete(t.Context(), "cm-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("what was deleted is put back", func() bool { return r.value("cm-1") == "one" })
	r.until("apps", "verified again", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Ready == metav1.ConditionTrue && s.VerifiedAt.After(before.Time)
	})
}

// A time of verification is only ever that of an answer.
func TestVerificationWithoutAnAnswerIsNone(t *testing.T) {
	proxy := edgeproxy.New(t, controlplane.Shared(t).RESTConfig())
	r := newRig(t, testHub, proxy.Config())
	r.want("apps", many(r, 3, "one"), interval(time.Second), func(e *v1alpha1.AssignmentEntry) { e.RetryInterval.Duration = time.Second })
	first := r.ready("apps")
	// The first pass waits for no watch of what it applies, and the second one for all.
	r.until("apps", "verified again", func(s v1alpha1.AssignmentEntryStatus) bool { return s.VerifiedAt.After(first.VerifiedAt.Time) })
	proxy.FreezeOpen(edgeproxy.IsWatch)
	var asked atomic.Int32
	proxy.Answer(func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodGet || req.URL.Path != "/api/v1/configmaps" {
			return false
		}
		asked.Add(1)
		jsonHeader(w)
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":500,"message":"etcd is broken"}`)
		return true
	})
	st := r.failed("apps", v1alpha1.ApplyFailedReason)
	if !strings.Contains(st.Message, "etcd is broken") {
		t.Errorf("message %q", st.Message)
	}
	before := asked.Load()
	r.eventually("the cluster is asked again", func() bool { return asked.Load() >= before+3 })
	if again := r.failed("apps", v1alpha1.ApplyFailedReason); !again.VerifiedAt.Equal(st.VerifiedAt) {
		t.Errorf("verified at %v, and at %v without an answer", st.VerifiedAt, again.VerifiedAt)
	}
	proxy.Answer(nil)
	r.until("apps", "verified again", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Ready == metav1.ConditionTrue && s.VerifiedAt.After(st.VerifiedAt.Time)
	})
}

// A cluster that is idle is asked nothing while its watches bring bookmarks.
func TestLongIntervalCountsBookmarks(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	w := &watches{now: func() time.Time { return now }, running: map[watchScope]*watcher{}}
	at := watchScope{GroupKind: schema.GroupKind{Kind: "ConfigMap"}}
	x := &watcher{of: w, scope: at}
	w.running[at] = x
	x.answered.Store(now.Add(-90 * time.Second).UnixNano())
	// A client would be asked for: there is none.
	complete, err := w.complete(t.Context(), at, now.Add(-counts(10*time.Minute)))
	if !complete || err != nil {
		t.Errorf("%v, %v", complete, err)
	}
}

// A definition moves its objects to another version in the commit that no longer serves the one before:
// the watch follows, so that health, edits and deletes are seen as before.
func TestWatchFollowsAKindToAnotherVersion(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	group := r.key.Namespace + ".example.com"
	bundle := func(versions, version, colour string) string {
		return r.namespace() + r.configMap("one", "1") + r.configMap("two", "2") + r.configMap("three", "3") + fmt.Sprintf(`
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: buoys.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: buoys, singular: buoy, kind: Buoy, listKind: BuoyList}
  versions:
%[2]s`, group, versions) + fmt.Sprintf("\n---\napiVersion: %s/%s\nkind: Buoy\nmetadata: {name: red, namespace: %s}\nspec: {colour: %s}\n", group, version, r.key.Namespace, colour)
	}
	const schema = "schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}"
	r.want("apps", bundle("  - {name: v1alpha1, served: true, storage: true, "+schema+"}", "v1alpha1", "green"))
	r.ready("apps")
	r.want("apps", bundle("  - {name: v1alpha1, served: false, storage: false, "+schema+"}\n  - {name: v1, served: true, storage: true, "+schema+"}", "v1", "red"))
	r.ready("apps")
	buoys := r.dyn.Resource(schemaResource(group)).Namespace(r.key.Namespace)
	colour := func() string {
		u, err := buoys.Get(t.Context(), "red", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		spec, _ := u.Object["spec"].(map[string]any)
		return fmt.Sprint(spec["colour"])
	}
	if got := colour(); got != "red" {
		t.Errorf("the buoy is %s", got)
	}
	if _, err := buoys.Patch(t.Context(), "red", types.MergePatchType, []byte(`{"spec":{"colour":"blue"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("an edit is put back", func() bool { return colour() == "red" })
	if err := buoys.Delete(t.Context(), "red", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("a delete is put back", func() bool { return colour() == "red" })
	r.ready("apps")
	all := bundle("  - {name: v1alpha1, served: false, storage: false, "+schema+"}\n  - {name: v1, served: true, storage: true, "+schema+"}", "v1", "red")
	r.want("apps", all[:strings.LastIndex(all, "\n---\n")])
	r.ready("apps")
	r.eventually("what is removed from Git is pruned", func() bool { return strings.Contains(colour(), "not found") })
}

// The definition is changed by another client, while nothing is assigned anew.
func TestWatchFollowsAKindWhoseDefinitionOthersChange(t *testing.T) {
	proxy := edgeproxy.New(t, controlplane.Shared(t).RESTConfig())
	r, group := thingsAt(t, proxy.Config())
	patch := `[{"op":"replace","path":"/spec/versions/0/served","value":false}]`
	delete(r.ks, "definitions")
	r.assign()
	if _, err := r.dyn.Resource(definitionsResource).Patch(t.Context(), "things."+group, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("v1 is not served", func() bool {
		_, err := r.kube.Discovery().ServerResourcesForGroupVersion(group + "/v1")
		return errors.IsNotFound(err)
	})
	// The API server ends the watch when it has let go of the old storage, after a minute or so.
	proxy.EndOpen(func(req *http.Request) bool { return strings.Contains(req.URL.Path, group) })
	r.eventually("another version is watched", func() bool {
		return proxy.Requests()["WATCH /apis/"+group+"/v2/things"] > 0
	})
	r.want("apps", r.configMap("stays", "1"))
	r.ready("apps")
	r.eventually("it is pruned by way of v2", func() bool { return !r.thing(group) && !r.recorded(group) })
}

func schemaResource(group string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: "buoys"}
}

// An edge is restored from a backup behind a proxy that keeps the connection: its uid and its address are
// the same, and nothing that was seen of it is true any more. Its resource versions have gone on since, so that
// none is lower than what was seen: the inventories give it away.
func TestEdgeThatIsRestoredFromABackup(t *testing.T) {
	if testing.Short() {
		t.Skip("needs an API server, and -short asks for tests that need none")
	}
	begin := func(dir string) (*controlplane.Cluster, func()) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		etcd, err := controlplane.StartEtcd(ctx, dir)
		if err != nil {
			t.Fatal(err)
		}
		c, err := controlplane.Start(ctx, etcd, "edge", controlplane.Options{})
		if err != nil {
			etcd.Stop()
			t.Fatal(err)
		}
		return c, func() { c.Stop(); etcd.Stop() }
	}
	dir, backup := t.TempDir(), t.TempDir()
	c, stop := begin(dir)
	proxy := edgeproxy.New(t, c.RESTConfig())
	r := newRig(t, testHub, proxy.Config())
	r.want("apps", many(r, 3, "one"))
	r.ready("apps")
	stop()
	if err := os.CopyFS(filepath.Join(backup, "etcd.data"), os.DirFS(filepath.Join(dir, "etcd.data"))); err != nil {
		t.Fatal(err)
	}
	c, stop = begin(dir)
	proxy.Swap(t, c.RESTConfig())
	r.want("apps", many(r, 4, "two"))
	r.ready("apps")
	r.eventually("the latest is there", func() bool { return r.value("cm-3") == "two" })
	// Watches begin anew after pauses. Those that are open when the edge is restored end, which the hub notices.
	if err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Delete(t.Context(), "cm-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("the edge is watched again", func() bool { return r.value("cm-0") == "two" })
	old, stopOld := begin(backup)
	defer stopOld()
	ahead := newestVersion(t, r.kube, nil) + 20
	versions := kubernetes.NewForConfigOrDie(old.RESTConfig())
	for newestVersion(t, versions, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "since-"}}) < ahead {
	}
	proxy.Swap(t, old.RESTConfig()) // at once, as far as the hub sees
	stop()
	restored := time.Now()
	r.eventually("the restored edge is as Git says", func() bool { return r.value("cm-3") == "two" && r.value("cm-1") == "two" })
	t.Logf("right again after %v", time.Since(restored))
	r.ready("apps")
}

// newestVersion returns the resource version of the API server, after it has created an object if one is given.
func newestVersion(t *testing.T, kube kubernetes.Interface, create *corev1.ConfigMap) uint64 {
	t.Helper()
	maps := kube.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	if create != nil {
		if _, err := maps.Create(t.Context(), create, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := maps.List(t.Context(), metav1.ListOptions{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	version, err := strconv.ParseUint(list.ResourceVersion, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// What healthChecks name is part of the verification: a watch of such an object that is stuck is noticed at the
// interval, and what it hid is reported.
func TestStuckWatchOfAReferenceIsNoticedAtTheInterval(t *testing.T) {
	proxy := edgeproxy.New(t, controlplane.Shared(t).RESTConfig())
	r := newRig(t, testHub, proxy.Config())
	r.want("base", r.namespace())
	r.ready("base")
	maps := r.kube.CoreV1().ConfigMaps(r.key.Namespace)
	if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.want("apps", r.configMap("mine", "1"), interval(2*time.Second), func(e *v1alpha1.AssignmentEntry) {
		e.HealthChecks = []v1alpha1.HealthCheckReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "theirs"}}
	})
	before := r.ready("apps").VerifiedAt
	proxy.FreezeOpen(edgeproxy.IsWatch)
	if err := maps.Delete(t.Context(), "theirs", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	st := r.until("apps", "waiting for what is gone", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Reason == v1alpha1.WaitingForHealthReason && strings.Contains(s.Message, "/theirs: is not there")
	})
	r.until("apps", "verified", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.VerifiedAt.After(before.Time) || st.VerifiedAt.After(before.Time)
	})
}

// The time of verification is that of the oldest answer, those about references included; one that is watched
// anew has answered when its list has come.
func TestReferencesAreVerifiedByAnswers(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	r := newReferences(&view{}, func() time.Time { return now }, func(reference) {})
	first, second, other := reference{owner: "a", id: object.ID{Name: "first"}}, reference{owner: "a", id: object.ID{Name: "second"}}, reference{owner: "b"}
	if at, known := r.oldest("a"); known {
		t.Errorf("before any answer: %v", at)
	}
	for i, ref := range []reference{other, second, first} {
		now = time.Unix(1_700_000_000+int64(i), 0)
		r.noteAnswer(t.Context(), ref)
	}
	if at, known := r.oldest("a"); !known || at.Unix() != 1_700_000_001 {
		t.Errorf("the oldest answer is of %v", at)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	now = now.Add(time.Hour)
	r.noteAnswer(ended, second)
	if at, _ := r.oldest("a"); at.Unix() != 1_700_000_001 {
		t.Errorf("a watch that has ended answered at %v", at)
	}
}
