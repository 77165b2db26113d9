package hubapi

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/internal/pacing"
)

// committers is how many statuses of one kind are written at a time.
const committers = 16

// Committer writes the statuses of one kind beside its reconciles, each as soon as it is decided.
type Committer[T any, P interface {
	*T
	client.Object
}] struct {
	*Statuses[T, P]
	*Continuations
	*Writer[types.NamespacedName, P]
}

// NewCommitter returns one for the controller that queue enqueues for; of returns a pointer to the status of an object.
func NewCommitter[T any, P interface {
	*T
	client.Object
}](hub Hub, queue Enqueuer, now func() time.Time, of func(P) any) *Committer[T, P] {
	c := &Committer[T, P]{Statuses: NewStatuses(of), Continuations: NewContinuations(queue)}
	c.Writer = NewWriter(WriterOptions[types.NamespacedName, P]{
		Write: func(ctx context.Context, _ types.NamespacedName, batch []P) error {
			return c.Commit(ctx, hub, batch[len(batch)-1])
		},
		Pace: pacing.Pace{}, Concurrency: committers, Now: now,
	})
	return c
}

// CommitThen has the status of an object written, unless it stands as it was read, and runs what is to follow:
// at once, or when it is written.
func (c *Committer[T, P]) CommitThen(ctx context.Context, before, after P, then func() (reconcile.Result, error)) (reconcile.Result, error) {
	if equality.Semantic.DeepEqual(c.of(before), c.of(after)) {
		c.Confirm(before)
		return then()
	}
	key := client.ObjectKeyFromObject(after)
	c.Enqueue(key, 1, after, c.Begin(ctx, key, 1, func(_ context.Context, err error) (reconcile.Result, error) {
		if err != nil {
			return ResultForError(err)
		}
		return then()
	}))
	return reconcile.Result{}, nil
}

// Forget forgets an object that is gone.
func (c *Committer[T, P]) Forget(key types.NamespacedName) {
	c.Statuses.Forget(key)
	c.Writer.Forget(key)
}
