package engine

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// mover is a rig on which Kustomization giver has applied ConfigMap moves and its Namespace.
type mover struct {
	*rig
	uid string
}

func newMover(t *testing.T) *mover {
	m := &mover{rig: newRig(t, testHub, controlplane.Shared(t).RESTConfig())}
	m.want("giver", m.namespace()+m.configMap("stays", "1")+m.configMap("moves", "1"))
	m.ready("giver")
	m.uid = m.uidOf("moves")
	return m
}

func (m *mover) uidOf(name string) string {
	cm, err := m.kube.CoreV1().ConfigMaps(m.key.Namespace).Get(m.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return "error: " + string(reasonOf(err))
	}
	return string(cm.UID)
}

// afterwards is what both Kustomizations have once the object has moved.
func (m *mover) giverAfterwards() string    { return m.namespace() + m.configMap("stays", "1") }
func (m *mover) receiverAfterwards() string { return m.configMap("moves", "2") }

// arrived checks that the receiver has the object, and that it is the one that there was.
func (m *mover) arrived() {
	m.t.Helper()
	m.ready("receiver")
	if got := m.uidOf("moves"); got != m.uid {
		m.t.Errorf("the object that moved has uid %s, and had %s", got, m.uid)
	}
	if got := m.owned("receiver"); !slices.Equal(got, []string{"moves=2"}) {
		m.t.Errorf("the receiver owns %v", got)
	}
	m.eventually("the giver has struck it off", func() bool { return !m.inventoried("giver", "moves") })
}

func keepFor(digests ...string) func(*v1alpha1.AssignmentEntry) {
	return func(e *v1alpha1.AssignmentEntry) { e.KeepFor = digests }
}

func holdPrune(e *v1alpha1.AssignmentEntry) { e.HoldPrune = true }

func TestAMoveInOneAssignmentKeepsTheObject(t *testing.T) {
	m := newMover(t)
	m.assignBoth()
	m.arrived()
	if got := m.writes(); count(got, "DELETE") != 0 {
		t.Errorf("wrote %v", got)
	}
}

// assignBoth hands over both new bundles at once.
func (m *mover) assignBoth() {
	m.ks["receiver"] = m.entry("receiver", m.bundle("receiver", m.receiverAfterwards()))
	m.want("giver", m.giverAfterwards())
}

func TestAReceiverThatArrivesLaterFindsTheObject(t *testing.T) {
	m := newMover(t)
	arriving := m.bundle("receiver", m.receiverAfterwards())
	m.want("giver", m.giverAfterwards(), keepFor(arriving))
	m.ready("giver")
	if !m.inventoried("giver", "moves") {
		t.Error("the giver has forgotten the object before the receiver came")
	}
	m.writes()
	m.want("receiver", m.receiverAfterwards())
	m.arrived()
	if got := m.writes(); count(got, "DELETE") != 0 {
		t.Errorf("wrote %v", got)
	}
}

func TestAReceiverThatArrivesFirstWaitsForTheRelease(t *testing.T) {
	m := newMover(t)
	m.want("receiver", m.receiverAfterwards())
	m.failed("receiver", v1alpha1.OwnershipConflictReason)
	m.want("giver", m.giverAfterwards())
	m.arrived()
}

func TestNothingIsDeletedUntilItIsKnownWhoDesiresIt(t *testing.T) {
	m := newMover(t)
	m.want("giver", m.giverAfterwards(), holdPrune)
	m.ready("giver")
	if got := m.uidOf("moves"); got != m.uid {
		t.Errorf("the object has uid %s, and had %s", got, m.uid)
	}
	m.want("giver", m.giverAfterwards())
	m.eventually("what nobody desires is deleted", func() bool { return m.uidOf("moves") == "error: NotFound" })
}

func TestAcknowledgedPruneIsNotHeld(t *testing.T) {
	m := newMover(t)
	m.want("giver", m.giverAfterwards(), holdPrune, func(e *v1alpha1.AssignmentEntry) { e.AllowPrune = true })
	m.eventually("it is deleted", func() bool { return m.uidOf("moves") == "error: NotFound" })
}

func TestARefusalForWantOfKnowingEndsWithIt(t *testing.T) {
	m := newMover(t)
	m.want("giver", m.namespace(), holdPrune)
	m.until("giver", "held", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Reason == v1alpha1.PruneHeldReason })
	m.want("giver", m.namespace(), keepFor(m.bundle("receiver", m.receiverAfterwards()+m.configMap("stays", "1"))))
	m.ready("giver")
	m.want("receiver", m.receiverAfterwards()+m.configMap("stays", "1"))
	m.ready("receiver")
	if got := m.uidOf("moves"); got != m.uid {
		t.Errorf("the object has uid %s, and had %s", got, m.uid)
	}
}

func TestAKustomizationThatIsRenamedGivesItsObjectsToTheNewOne(t *testing.T) {
	m := newMover(t)
	all := m.namespace() + m.configMap("stays", "1") + m.configMap("moves", "2")
	m.change("giver", func(e *v1alpha1.AssignmentEntry) { e.Remove, e.HoldPrune = true, true })
	m.until("giver", "held", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Reason == v1alpha1.PruneHeldReason })
	m.change("giver", func(e *v1alpha1.AssignmentEntry) {
		e.HoldPrune, e.KeepFor = false, []string{m.bundle("receiver", all)}
	})
	m.until("giver", "waiting for the receiver", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Message == "keeps 3 objects for Kustomizations that have not arrived here"
	})
	m.want("receiver", all)
	m.ready("receiver")
	m.until("giver", "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed })
	if got := m.uidOf("moves"); got != m.uid {
		t.Errorf("the object has uid %s, and had %s", got, m.uid)
	}
}

// Two Kustomizations that exchange an object each conflict with the other's label, and must not wait for each
// other.
func TestTwoKustomizationsExchangeObjects(t *testing.T) {
	m := newMover(t)
	m.want("receiver", m.configMap("back", "1"))
	m.ready("receiver")
	back := m.uidOf("back")
	m.ks["receiver"] = m.entry("receiver", m.bundle("receiver", m.receiverAfterwards()))
	m.want("giver", m.giverAfterwards()+m.configMap("back", "2"))
	m.ready("giver")
	m.arrived()
	if got := m.uidOf("back"); got != back {
		t.Errorf("the object that moved back has uid %s, and had %s", got, back)
	}
}

// After a restart the giver may be the first to have a pass, when nothing of the receiver is loaded.
func TestARestartWithBothAssignedDeletesNothing(t *testing.T) {
	m := newMover(t)
	m.pool.Disconnect(m.key)
	m.connect(controlplane.Shared(t).RESTConfig())
	m.assignBoth()
	m.arrived()
}

// A bundle that is not in the store may hold the object.
func TestABundleThatCannotBeLoadedMayHoldTheObject(t *testing.T) {
	m := newMover(t)
	digest := m.bundle("receiver", m.receiverAfterwards())
	m.bundleStore.mu.Lock()
	taken := m.bundleStore.bundles[digest]
	delete(m.bundleStore.bundles, digest)
	m.bundleStore.mu.Unlock()
	m.ks["receiver"] = m.entry("receiver", digest)
	m.want("giver", m.giverAfterwards())
	m.ready("giver")
	if got := m.uidOf("moves"); got != m.uid {
		t.Fatalf("the object has uid %s, and had %s", got, m.uid)
	}
	m.bundleStore.mu.Lock()
	m.bundleStore.bundles[digest] = taken
	m.bundleStore.mu.Unlock()
	m.arrived()
}

// The Namespace of objects that another Kustomization desires is not deleted: they would go with it.
func TestANamespaceThatAnotherKustomizationUsesIsReleased(t *testing.T) {
	m := newMover(t)
	m.want("receiver", m.configMap("guest", "1"))
	m.ready("receiver")
	m.change("giver", func(e *v1alpha1.AssignmentEntry) { e.Remove = true })
	m.until("giver", "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed })
	if got := m.value("guest"); got != "1" {
		t.Errorf("guest=%s", got)
	}
	if got := m.uidOf("moves"); got != "error: NotFound" {
		t.Errorf("moves has uid %s", got)
	}
}

// TestACrashAtAnyWriteOfAMove kills the engine at the k-th write after an object has moved, for every k,
// and lets a new one go on.
func TestACrashAtAnyWriteOfAMove(t *testing.T) {
	atAnyWrite(t, func(t *testing.T, k int, lost bool) bool {
		m := newMover(t)
		crashed := m.crashAt(k, lost)
		m.assignBoth()
		died := m.applyUntil(crashed, "receiver", m.receiverAfterwards(), nil)
		m.discardPool()
		m.connect(controlplane.Shared(t).RESTConfig())
		m.assign()
		m.ready("giver")
		m.arrived()
		return died
	})
}

// A receiver that is rolled back keeps what it took over, and deletes what its change created: the revision
// wants the one still, and nothing but the change wanted the other.
func TestARollbackKeepsWhatWasTakenOver(t *testing.T) {
	m := newMover(t)
	base := m.configMap("base-1", "1") + m.configMap("base-2", "1") + m.configMap("base-3", "1")
	before := m.want("receiver", base)
	m.ready("receiver")
	change := m.want("receiver", base+m.receiverAfterwards()+m.configMap("fresh", "1"))
	m.failed("receiver", v1alpha1.OwnershipConflictReason)
	m.want("giver", m.giverAfterwards())
	m.ready("receiver")
	m.eventually("the giver has let go of it", func() bool { return !m.inventoried("giver", "moves") })
	m.change("receiver", func(e *v1alpha1.AssignmentEntry) { e.Digest, e.Undone = before, change })
	m.ready("receiver")
	m.eventually("what the change created is deleted", func() bool { return m.uidOf("fresh") == "error: NotFound" })
	if got := m.uidOf("moves"); got != m.uid || !m.inventoried("receiver", "moves") {
		t.Errorf("what was taken over has uid %s, and had %s", got, m.uid)
	}
	// The next change decides: it wants it no more, and nothing was undone.
	m.want("receiver", base+m.configMap("later", "1"))
	m.eventually("what nothing wants is deleted", func() bool { return m.uidOf("moves") == "error: NotFound" })
}

// What was rolled back and is wanted by the giver again goes back there.
func TestARollbackGivesBackWhatTheGiverWantsAgain(t *testing.T) {
	m := newMover(t)
	base := m.configMap("base-1", "1") + m.configMap("base-2", "1")
	before := m.want("receiver", base)
	m.ready("receiver")
	change := m.want("receiver", base+m.receiverAfterwards())
	m.failed("receiver", v1alpha1.OwnershipConflictReason)
	m.want("giver", m.giverAfterwards())
	m.ready("receiver")
	m.change("receiver", func(e *v1alpha1.AssignmentEntry) { e.Digest, e.Undone = before, change })
	m.want("giver", m.namespace()+m.configMap("stays", "1")+m.configMap("moves", "1"))
	m.ready("giver")
	m.eventually("the receiver has struck it off", func() bool { return !m.inventoried("receiver", "moves") })
	if got := m.uidOf("moves"); got != m.uid {
		t.Errorf("the object has uid %s, and had %s", got, m.uid)
	}
}

// The hub assigns the giving side first: what moves is named in keepFor. The receiving side
// follows with the giver's bundle, while the giver writes, or once it has done all that it was assigned; in the same
// engine, or in one that was started anew. The object is never deleted.
func TestAMoveWheneverTheReceiverArrives(t *testing.T) {
	for _, restart := range []bool{false, true} {
		for _, when := range []string{"with", "during", "after"} {
			t.Run(fmt.Sprintf("%s/%t", when, restart), func(t *testing.T) {
				m := newMover(t)
				m.writes()
				arriving := m.bundle("receiver", m.receiverAfterwards())
				releaser := m.entry("giver", m.bundle("giver", m.giverAfterwards()+m.configMap("fresh", "1")), keepFor(arriving))
				began, goOn := make(chan struct{}), make(chan struct{})
				if when == "during" {
					var once sync.Once
					m.mu.Lock()
					m.before = func(*http.Request) error {
						once.Do(func() { close(began) })
						<-goOn
						return nil
					}
					m.mu.Unlock()
				}
				if restart && when == "with" {
					m.pool.Disconnect(m.key)
					m.connect(controlplane.Shared(t).RESTConfig())
				}
				m.ks["giver"] = releaser
				if when != "with" {
					m.assign()
				}
				switch when {
				case "during":
					<-began
				case "after":
					m.ready("giver")
				}
				m.ks["receiver"] = m.entry("receiver", arriving)
				if restart && when != "with" {
					close(goOn)
					m.pool.Disconnect(m.key)
					m.connect(controlplane.Shared(t).RESTConfig())
					m.assign()
				} else {
					m.assign()
					close(goOn)
				}
				m.arrived()
				if got := m.writes(); count(got, "DELETE") != 0 {
					t.Errorf("wrote %v", got)
				}
			})
		}
	}
}
