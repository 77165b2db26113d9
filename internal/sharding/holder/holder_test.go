package holder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/sharding"
)

const leaseDuration = 15 * time.Second

// world is an API server on which several hubs look.
type world struct {
	t   *testing.T
	api client.Client
	now time.Time
	// written is called after a status was written; nil for nothing.
	written func()
	// old makes it one that does not know the field.
	old bool
	log []string
}

func newWorld(t *testing.T, clusters ...string) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, coordinationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, now: time.Unix(1000, 0)}
	w.api = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.Cluster{}).
		WithInterceptorFuncs(interceptor.Funcs{SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			if w.old {
				o.(*v1alpha1.Cluster).Status.Shard = ""
			}
			err := c.SubResource(sub).Update(ctx, o, opts...)
			if f := w.written; f != nil && err == nil {
				w.written = nil
				f()
			}
			return err
		}}).Build()
	for _, name := range clusters {
		w.must(w.api.Create(t.Context(), &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: name}}))
	}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// hub is one process.
func (w *world) hub(k, n int) *Holder {
	s := sharding.Shard{Index: k, Count: n}
	say := func(what string) func(types.NamespacedName) {
		return func(key types.NamespacedName) { w.log = append(w.log, fmt.Sprintf("%s %s %s", s, what, key.Name)) }
	}
	return New(Options{
		Hub: hubapi.Hub{Client: w.api}, Direct: hubapi.Direct{Reader: w.api}, Shard: s, Namespace: "leases", Duration: leaseDuration,
		Now: func() time.Time { return w.now }, Moved: func(types.NamespacedName) {}, Gained: say("gains"), Leaving: func(types.NamespacedName) {}, Lost: say("loses"),
	})
}

// lease lets a process of a shard hold its lease, or nobody.
func (w *world) lease(s sharding.Shard, process string) {
	w.t.Helper()
	identity := ""
	if process != "" {
		identity = s.Identity(process)
	}
	key := types.NamespacedName{Namespace: "leases", Name: s.Lease()}
	l := &coordinationv1.Lease{}
	err := w.api.Get(w.t.Context(), key, l)
	l.Namespace, l.Name, l.Spec.HolderIdentity = key.Namespace, key.Name, &identity
	l.Spec.RenewTime = &metav1.MicroTime{Time: w.now}
	if apierrors.IsNotFound(err) {
		w.must(w.api.Create(w.t.Context(), l))
		return
	}
	w.must(err)
	w.must(w.api.Update(w.t.Context(), l))
}

func (w *world) cluster(name string) *v1alpha1.Cluster {
	w.t.Helper()
	c := &v1alpha1.Cluster{}
	w.must(w.api.Get(w.t.Context(), types.NamespacedName{Namespace: "fleet", Name: name}, c))
	return c
}

// holds lets a hub look at a Cluster.
func (w *world) holds(h *Holder, c *v1alpha1.Cluster) bool {
	w.t.Helper()
	ok, _, err := h.Hold(w.t.Context(), c, func() { w.log = append(w.log, fmt.Sprintf("%s lets go of %s", h.Shard, c.Name)) })
	w.must(err)
	return ok
}

func (w *world) expect(what string, got, want bool, name, record string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s: held: %v", what, got)
	}
	if is := w.cluster(name).Status.Shard; is != record {
		w.t.Errorf("%s: recorded: %q, not %q", what, is, record)
	}
}

// of returns a cluster of each of two shards, of those named edge-0000 and so on.
func of2(names []string) (first, second string) {
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = "fleet/" + name
	}
	placed := sharding.Place(keys, 2)
	for _, name := range names {
		if placed["fleet/"+name] == 1 {
			first = name
		} else {
			second = name
		}
	}
	return first, second
}

var names = []string{"edge-0000", "edge-0001", "edge-0002", "edge-0003"}

func TestTheWholeFleetIsHeldWithoutARecord(t *testing.T) {
	w := newWorld(t, "one")
	before := w.cluster("one").ResourceVersion
	w.expect("whole", w.holds(w.hub(1, 1), w.cluster("one")), true, "one", "")
	if w.cluster("one").ResourceVersion != before {
		t.Error("something was written")
	}
}

func TestAShardWaitsForTheLeaseOfTheHolder(t *testing.T) {
	w := newWorld(t, names...)
	_, mine := of2(names)
	h := w.hub(2, 2)
	w.lease(sharding.Whole, "a")
	w.expect("held by the whole", w.holds(h, w.cluster(mine)), false, mine, "")

	w.now = w.now.Add(leaseDuration - time.Second)
	w.lease(sharding.Whole, "a") // renewed
	w.expect("renewed", w.holds(h, w.cluster(mine)), false, mine, "")
	w.now = w.now.Add(leaseDuration)
	w.expect("not renewed for a moment too little", w.holds(h, w.cluster(mine)), false, mine, "")
	w.now = w.now.Add(time.Second)
	w.expect("expired", w.holds(h, w.cluster(mine)), true, mine, "2/2")

	w.lease(sharding.Whole, "")
	other := w.hub(1, 1)
	w.lease(sharding.Shard{Index: 2, Count: 2}, "b")
	w.expect("held by the shard", w.holds(other, w.cluster(mine)), false, mine, "2/2")
	w.now = w.now.Add(2 * time.Second)
	w.lease(sharding.Shard{Index: 2, Count: 2}, "")
	w.expect("given back", w.holds(other, w.cluster(mine)), true, mine, "")
}

// TestTheFirstShardHasTheLeaseOfTheWhole, whose holder nobody takes for the whole.
func TestTheFirstShardHasTheLeaseOfTheWhole(t *testing.T) {
	w := newWorld(t, names...)
	first, mine := of2(names)
	w.lease(sharding.Shard{Index: 1, Count: 2}, "a")
	w.expect("2/2", w.holds(w.hub(2, 2), w.cluster(mine)), true, mine, "2/2")
	w.expect("1/2", w.holds(w.hub(1, 2), w.cluster(first)), true, first, "1/2")
	w.expect("of another", w.holds(w.hub(2, 2), w.cluster(first)), false, first, "1/2")
}

func TestTheHolderHandsOverWhatMoves(t *testing.T) {
	w := newWorld(t, names...)
	_, name := of2(names)
	c := w.cluster(name)
	c.Status.Shard = "1/2" // as it was before others joined
	w.must(w.api.Status().Update(t.Context(), c))
	w.lease(sharding.Shard{Index: 1, Count: 2}, "a")
	w.lease(sharding.Shard{Index: 2, Count: 2}, "b")
	from, to := w.hub(1, 2), w.hub(2, 2)
	from.gain(client.ObjectKeyFromObject(c))
	leave, ok := from.Enter(client.ObjectKeyFromObject(c))
	if !ok {
		t.Fatal("not held")
	}
	w.expect("before", w.holds(to, w.cluster(name)), false, name, "1/2")
	w.log = nil

	w.expect("while somebody is at work", w.holds(from, w.cluster(name)), false, name, "1/2")
	var moved []string
	from.Moved = func(key types.NamespacedName) { moved = append(moved, key.Name) }
	w.expect("while somebody is still at work", w.holds(from, w.cluster(name)), false, name, "1/2")
	if _, ok := from.Enter(client.ObjectKeyFromObject(c)); ok {
		t.Error("work begins on what is to be handed over")
	}
	if len(w.log)+len(moved) > 0 {
		t.Errorf("while somebody is at work: %v, moved %v", w.log, moved)
	}
	leave()
	if diff := cmp.Diff([]string{name}, moved); diff != "" {
		t.Errorf("when the work has ended: %s", diff)
	}
	w.expect("handed over", w.holds(from, w.cluster(name)), false, name, "2/2")
	w.expect("after", w.holds(to, w.cluster(name)), true, name, "2/2")
	if diff := cmp.Diff([]string{"1/2 lets go of " + name, "1/2 loses " + name, "2/2 gains " + name}, w.log); diff != "" {
		t.Error(diff)
	}
}

// TestAHandoverThatIsCalledOff: the shard of a Cluster may change back while there is still work on it.
func TestAHandoverThatIsCalledOff(t *testing.T) {
	w := newWorld(t, names...)
	_, name := of2(names)
	key := types.NamespacedName{Namespace: "fleet", Name: name}
	c := w.cluster(name)
	c.Status.Shard = "1/2"
	w.must(w.api.Status().Update(t.Context(), c))
	h := w.hub(1, 2)
	h.gain(key)
	leave, ok := h.Enter(key)
	if !ok {
		t.Fatal("not held")
	}
	w.expect("while somebody is at work", w.holds(h, w.cluster(name)), false, name, "1/2")
	w.log = nil
	h.owners[key.String()] = 1
	w.expect("called off", w.holds(h, w.cluster(name)), true, name, "1/2")
	h.Moved = func(types.NamespacedName) { t.Error("it is not to be given up any more") }
	leave()
	if _, ok := h.Enter(key); !ok {
		t.Error("no work begins on it")
	}
	if diff := cmp.Diff([]string{"1/2 gains " + name}, w.log); diff != "" {
		t.Error(diff)
	}
}

// TestWhatIsDeletedIsForgottenWhenTheWorkOnItHasEnded.
func TestWhatIsDeletedIsForgottenWhenTheWorkOnItHasEnded(t *testing.T) {
	w := newWorld(t, names...)
	first, _ := of2(names)
	key := types.NamespacedName{Namespace: "fleet", Name: first}
	w.lease(sharding.Whole, "")
	h := w.hub(1, 2)
	w.expect("held", w.holds(h, w.cluster(first)), true, first, "1/2")
	leave, _ := h.Enter(key)
	w.must(w.api.Delete(t.Context(), w.cluster(first)))
	moved := 0
	h.Moved = func(types.NamespacedName) { moved++ }
	w.must(h.Forget(t.Context(), key))
	if _, known := h.owners[key.String()]; !known || moved > 0 {
		t.Errorf("forgotten while somebody is at work, moved %d times", moved)
	}
	leave()
	if moved != 1 {
		t.Errorf("moved %d times", moved)
	}
	w.must(h.Forget(t.Context(), key))
	if _, known := h.owners[key.String()]; known {
		t.Error("it is remembered")
	}
}

// TestAHolderThatComesBack while its cluster is being taken keeps it.
func TestAHolderThatComesBack(t *testing.T) {
	w := newWorld(t, names...)
	_, name := of2(names)
	w.lease(sharding.Whole, "")
	h := w.hub(2, 2)
	w.written = func() { w.lease(sharding.Whole, "a") }
	w.expect("it came between", w.holds(h, w.cluster(name)), false, name, "")
	if slices.Contains(w.log, "2/2 gains "+name) {
		t.Error("it was worked on in between")
	}
}

// TestAnOldDefinition: what cannot be written down is not held.
func TestAnOldDefinition(t *testing.T) {
	w := newWorld(t, names...)
	_, name := of2(names)
	w.old = true
	if held, _, err := w.hub(2, 2).Hold(t.Context(), w.cluster(name), func() {}); held || !errors.Is(err, errOldDefinition) {
		t.Errorf("held: %v, %v", held, err)
	}
}

// TestAnOldCache: a hub that gets the lease does not trust a cache of the time before.
func TestAnOldCache(t *testing.T) {
	w := newWorld(t, names...)
	_, name := of2(names)
	old := w.cluster(name)
	w.expect("2/2", w.holds(w.hub(2, 2), w.cluster(name)), true, name, "2/2")
	w.lease(sharding.Shard{Index: 2, Count: 2}, "b")
	whole := w.hub(1, 1)
	w.expect("by an old cache", w.holds(whole, old), false, name, "2/2")
	w.expect("again", w.holds(whole, old), false, name, "2/2")
	w.lease(sharding.Shard{Index: 2, Count: 2}, "")
	w.now = w.now.Add(2 * time.Second)
	w.expect("by a new one", w.holds(whole, w.cluster(name)), true, name, "")
	w.expect("and ever after", w.holds(whole, w.cluster(name)), true, name, "")
}

// TestJoiningAndLeavingMoves tells of the Clusters that may move, and of no others.
func TestJoiningAndLeavingMoves(t *testing.T) {
	w := newWorld(t)
	var told []string
	h := w.hub(2, 2)
	h.Moved = func(key types.NamespacedName) { told = append(told, key.String()) }
	var keys []string
	before := map[string]int{}
	for i := range 20 {
		key := types.NamespacedName{Namespace: "fleet", Name: fmt.Sprintf("edge-%04d", i)}
		w.must(w.api.Create(t.Context(), &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}))
		keys, told = append(keys, key.String()), nil
		w.holds(h, w.cluster(key.Name))
		now := sharding.Place(keys, 2)
		var want []string
		for _, k := range keys {
			if before[k] != now[k] && (before[k] == 2 || now[k] == 2) {
				want = append(want, k)
			}
		}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("%d joined: %s", i+1, diff)
		}
		before = now
	}
	gone := w.cluster("edge-0003")
	w.must(w.api.Delete(t.Context(), gone))
	w.must(h.Forget(t.Context(), client.ObjectKeyFromObject(gone)))
	if _, there := h.owners["fleet/edge-0003"]; there {
		t.Error("it is remembered")
	}
}
