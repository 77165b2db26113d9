package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// session is one connection to one cluster and all that is known of the cluster through it. It ends
// with the connection; the next one learns everything anew from the cluster, so nothing that was
// true of another state of it, or of another cluster at the same address, survives.
type session struct {
	identity edge.Identity
	// view is that of the credentials.
	*view
	viewing     sync.Mutex             // guards views
	views       map[edge.Account]*view // of those whom Kustomizations name
	admissions  atomic.Uint64          // changes so far of which accounts are admitted
	store       *edge.Inventories
	expressions *expressions
	inventories map[string]*inventory.Inventory
	corrupt     map[string]*edge.CorruptError // by owner
	slots       chan struct{}
	classes     map[string]*storageClass // by name; only the loop touches it
	stop        *atomic.Bool
	now         func() time.Time
	cancel      context.CancelFunc
	ctx         context.Context //nolint:containedctx // ends when the session does
}

func (s *session) stopping() bool { return s.stop.Load() }

// applied returns the digest of the bundle that an owner's inventory records as applied.
func (s *session) applied(owner string) string {
	if inv := s.inventories[owner]; inv != nil {
		return inv.Bundle
	}
	return ""
}

// recordedKinds returns the kinds of which inventories record objects, in no order.
func recordedKinds(inventories ...*inventory.Inventory) []schema.GroupVersionKind {
	kinds := map[schema.GroupVersionKind]bool{}
	for _, inv := range inventories {
		for id, r := range inv.Objects {
			kinds[schema.GroupVersionKind{Group: id.Group, Version: r.Version, Kind: id.Kind}] = true
		}
	}
	return slices.Collect(maps.Keys(kinds))
}

// end gives up all that the session holds.
func (s *session) end() {
	s.cancel()
	for _, v := range s.allViews() {
		v.watches.wg.Wait()
	}
	s.client.Close()
}

// refusedError means that a cluster answers but must not be worked on.
type refusedError struct {
	reason, message string
	// contest is why, where another hub of the same identity may work on the cluster.
	contest *edge.ContestedError
}

func (e *refusedError) Error() string { return e.message }

// dial connects, identifies the cluster, checks the claim and reads the inventories. It writes nothing but the claim of a
// cluster that has none.
func (e *Engine) dial(ctx context.Context, conn Connection, contest edge.Contest) (*session, error) {
	ctx, cancel := context.WithCancel(ctx)
	evaluator := &expressions{
		now: e.o.Now, steps: &e.steps, hub: e.limits.steps, random: e.o.Random, assessments: &e.assessments,
		exhausted: func() { e.send(func(*inbox) {}) },
	}
	e.assessments.startSession()
	client, err := edge.New(conn.Config, edge.Options{
		Assessor: evaluator,
		Timeout:  e.o.RequestTimeout, Inflight: e.o.Inflight,
		Request: func() { e.count(Requests, 1) },
		Outcome: e.recordAnswer, Connected: e.connected, Fence: e.o.Fence, UserAgent: e.o.UserAgent,
		NoWatchList: e.noWatchList.Load(), OnNoWatchList: func() { e.noWatchList.Store(true) },
	})
	if err != nil {
		cancel()
		return nil, &refusedError{reason: v1alpha1.InvalidKubeConfigReason, message: err.Error()}
	}
	s := &session{ctx: ctx, cancel: cancel, slots: make(chan struct{}, e.o.Inflight), stop: &e.stop, expressions: evaluator, classes: map[string]*storageClass{}, now: e.o.Now}
	s.store = edge.NewInventories(client, edge.Holder{
		Hub: e.o.Hub, Instance: e.o.HubUID, Process: e.o.Process, Since: e.o.Since, Cluster: e.key.String(), TakeOver: conn.TakeOver, Shared: conn.Shared,
		Holds: func(cluster string) bool {
			return e.o.Holds != nil && e.o.Holds(v1alpha1.ResolveName("", cluster), s.identity.UID)
		},
	})
	s.view = e.newView(s, edge.Account{}, client, len(conn.Namespaces) > 0)
	if err := recovery.Run(func() error { return e.openSession(ctx, s, conn, contest) }); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

func (e *Engine) openSession(ctx context.Context, s *session, conn Connection, contest edge.Contest) error {
	var err error
	if s.identity, err = e.probe(ctx, s); err != nil {
		return refusal(err)
	}
	if err := e.admit(s.identity.UID, conn.Local); err != nil {
		return err
	}
	leave, err := e.limits.openings.acquire(ctx, false)
	if err != nil {
		return err
	}
	defer leave()
	records, err := s.store.Load(ctx, contest)
	if err != nil {
		return refusal(err)
	}
	s.inventories, s.corrupt = records.Inventories, records.Corrupt
	s.client.Discover(ctx, recordedKinds(slices.Collect(maps.Values(s.inventories))...))
	s.watches.ensure(edge.OwnMapping, "") //nolint:contextcheck // a watch outlives the dial; it shows what other hubs write
	return nil
}

// probe asks whether the cluster is there, and for its identity.
func (e *Engine) probe(ctx context.Context, s *session) (edge.Identity, error) {
	leave, err := e.limits.probes.acquire(ctx, false)
	if err != nil {
		return edge.Identity{}, err
	}
	defer leave()
	short, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return s.client.Identify(short, true)
}

// refusal distinguishes an answer that forbids the work from the lack of one.
func refusal(err error) error {
	var other *edge.OtherHubError
	var sibling *edge.OtherClusterError
	var panicked *recovery.Panic
	var contest *edge.ContestedError
	switch {
	case errors.As(err, &panicked):
		return &refusedError{reason: v1alpha1.InternalErrorReason, message: panicked.Error()}
	case edge.Unexpected(err) != "":
		return &refusedError{reason: v1alpha1.UnexpectedAnswerReason, message: edge.Unexpected(err)}
	case apierror.Overloaded(err):
		return &refusedError{reason: v1alpha1.FailedReason, message: overloaded}
	case errors.As(err, &other):
		return &refusedError{reason: v1alpha1.OwnedByAnotherHubReason, message: fmt.Sprintf(
			"%s; if that hub is gone for good, run this one with --hub-id=%s", other.Error(), other.Hub)}
	case errors.As(err, &sibling):
		return duplicate(v1alpha1.ResolveName("", sibling.Cluster))
	case errors.As(err, &contest):
		return contested(contest)
	case apierror.Unauthorized(err):
		return &refusedError{reason: v1alpha1.UnauthorizedReason, message: "the cluster does not accept the credentials"}
	case !apierror.Unanswered(err):
		return &refusedError{reason: v1alpha1.FailedReason, message: "the cluster refuses: " + apierror.Explain(err, noObject)}
	}
	return err
}

func contested(err *edge.ContestedError) *refusedError {
	r := &refusedError{reason: v1alpha1.DuplicateHubReason, message: err.Error(), contest: err}
	if err.Waiting {
		r.reason = v1alpha1.ProgressingReason
		return r
	}
	r.message += fmt.Sprintf("; stop one, or let this one take over with the annotation %s=%s", v1alpha1.TakeOverAnnotation, err.Holder)
	return r
}

const overloaded = "the cluster is overloaded and asks to be left alone for a while"

// probeTimeout bounds the question whether a cluster is there.
const probeTimeout = 5 * time.Second
