package kustomization

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/pacing"
)

const (
	// writeTimeout bounds one write of an Assignment with its tries.
	writeTimeout = 10 * time.Second
	// writeTries is how often one is tried when others change it meanwhile.
	writeTries = 5
	// writers is how many Assignments are written at a time, and how many statuses of Kustomizations. Few are
	// enough to keep an API server busy; what waits for one gathers.
	writers = 16
)

// assignments writes the specs of Assignments. Many Kustomizations write to one at the same time; what
// gathers for it goes with one write.
type assignments struct {
	*hubapi.Writer[types.NamespacedName, change]
	hub     hubapi.Hub
	direct  hubapi.Direct
	pending pendingWrites

	mu    sync.Mutex
	wrote map[types.NamespacedName]int64 // generation that was written here last; guarded by mu
}

// change is what one Kustomization wants in the Assignment of a cluster.
type change struct {
	cluster *v1alpha1.Cluster
	name    string
	entry   *v1alpha1.AssignmentEntry // nil drops it
}

func newAssignments(hub hubapi.Hub, direct hubapi.Direct, now func() time.Time) *assignments {
	a := &assignments{hub: hub, direct: direct, wrote: map[types.NamespacedName]int64{}}
	a.Writer = hubapi.NewWriter(hubapi.WriterOptions[types.NamespacedName, change]{
		Write: a.commit, Pace: pacing.AssignmentSpec, Concurrency: writers, Now: now,
	})
	return a
}

func (a *assignments) commit(ctx context.Context, key types.NamespacedName, batch []change) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var read client.Reader = a.hub
	var err error
	for range writeTries {
		var again bool
		if again, err = a.try(ctx, read, key, batch); !again {
			return err
		}
		read = a.direct // the cache was behind
	}
	return err
}

// try reads the Assignment, applies the batch and writes it, unless another writer has written its spec since.
func (a *assignments) try(ctx context.Context, read client.Reader, key types.NamespacedName, batch []change) (again bool, err error) {
	have := &v1alpha1.Assignment{}
	owner := batch[len(batch)-1].cluster
	err = read.Get(ctx, key, have)
	if apierrors.IsNotFound(err) {
		return a.create(ctx, owner, batch)
	}
	if err != nil {
		return false, fmt.Errorf("cannot read Assignment: %w", err)
	}
	if !metav1.IsControlledBy(have, owner) {
		return false, fmt.Errorf("the Assignment %s is one of an earlier Cluster of this name and has to go first", key)
	}
	want := apply(have.Spec.Entries, batch)
	if slices.EqualFunc(want, have.Spec.Entries, sameEntry) {
		a.pending.wrote(key, have.Generation, batch) // the API server may have told what the cache does not show yet
		return false, nil
	}
	if err := hubapi.PatchEntries(ctx, a.hub, have, want); err != nil {
		return apierrors.IsConflict(err) || apierrors.IsNotFound(err), err
	}
	a.recordGeneration(key, have.Generation)
	a.pending.wrote(key, have.Generation, batch)
	return false, nil
}

func (a *assignments) create(ctx context.Context, owner *v1alpha1.Cluster, batch []change) (again bool, err error) {
	entries := apply(nil, batch)
	if len(entries) == 0 {
		return false, nil
	}
	controls := true
	made := &v1alpha1.Assignment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: owner.Namespace, Name: owner.Name,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.ClusterKind, Name: owner.Name, UID: owner.UID, Controller: &controls,
			}},
		},
		Spec: v1alpha1.AssignmentSpec{Entries: entries},
	}
	if err := a.hub.Create(ctx, made); err != nil {
		return apierrors.IsAlreadyExists(err), fmt.Errorf("cannot create Assignment: %w", err)
	}
	key := client.ObjectKeyFromObject(made)
	a.recordGeneration(key, made.Generation)
	a.pending.wrote(key, made.Generation, batch)
	return false, nil
}

// apply returns the entries after the changes, sorted by name.
func apply(have []v1alpha1.AssignmentEntry, batch []change) []v1alpha1.AssignmentEntry {
	want := slices.Clone(have)
	for _, p := range batch {
		want = slices.DeleteFunc(want, func(e v1alpha1.AssignmentEntry) bool { return e.Name == p.name })
		if p.entry != nil {
			want = append(want, *p.entry)
		}
	}
	slices.SortFunc(want, func(a, b v1alpha1.AssignmentEntry) int { return strings.Compare(a.Name, b.Name) })
	return want
}

func sameEntry(a, b v1alpha1.AssignmentEntry) bool { return a.Equal(&b) }

func (a *assignments) recordGeneration(key types.NamespacedName, generation int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wrote[key] = generation
}

// isOurWrite reports whether the spec of the Assignment is the one that was written here last.
func (a *assignments) isOurWrite(o *v1alpha1.Assignment) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	generation, ok := a.wrote[client.ObjectKeyFromObject(o)]
	return ok && generation == o.Generation
}

func (a *assignments) forget(key types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.wrote, key)
	a.pending.forget(key)
	a.Forget(key)
}
