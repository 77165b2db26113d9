// Package gitrepository keeps status.artifact of each GitRepository at what its ref leads to.
//
// A reconcile is one check: ls-remote, and a fetch if the ref moved. Checks follow each other at
// interval; an edited spec, a request and a changed Secret bring one at once. Whatever fails, the
// artifact that was fetched last stays.
package gitrepository

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/report"
)

// Options are what a Reconciler works with.
type Options struct {
	Hub      hubapi.Hub
	Direct   hubapi.Direct
	Recorder hubapi.Recorder
	// Follow checks a ref, and Forget drops what was kept under a key (see Key).
	Follow func(context.Context, git.Request) (git.Commit, error)
	Forget func(key string) error
	// Include puts a commit together with files of other repositories, and returns the digest of that.
	Include func(context.Context, string, git.Commit, []git.Part) (digest string, fresh bool, err error)
	Now     func() time.Time
	// Jitter returns a random number in [-1, 1).
	Jitter func() float64
}

// Reconciler reconciles GitRepositories.
type Reconciler struct {
	Options
	statuses *hubapi.Committer[v1alpha1.GitRepository, *v1alpha1.GitRepository]
	trigger  hubapi.Trigger

	mu       sync.Mutex
	failures map[types.NamespacedName]int    // checks in a row that failed; guarded by mu
	ignored  map[types.NamespacedName]string // keys of Secrets that nothing reads, as of the last check; guarded by mu
}

// New returns a Reconciler.
func New(o Options) *Reconciler {
	r := &Reconciler{Options: o, failures: map[types.NamespacedName]int{}, ignored: map[types.NamespacedName]string{}}
	r.statuses = hubapi.NewCommitter(o.Hub, &r.trigger, o.Now, func(g *v1alpha1.GitRepository) any { return &g.Status })
	return r
}

// Key is the name under which the Git store keeps what was fetched for a GitRepository.
func Key(name types.NamespacedName) string { return name.String() }

// Enqueue asks for a check of the repository of a key of the Git store, at once: what was fetched for it is
// damaged. It does not block.
func (r *Reconciler) Enqueue(key string) {
	namespace, name, _ := strings.Cut(key, string(types.Separator))
	r.trigger.Enqueue(types.NamespacedName{Namespace: namespace, Name: name})
}

// EnqueueAfter asks for a check of a GitRepository after a while. It does not block.
func (r *Reconciler) EnqueueAfter(key types.NamespacedName, wait time.Duration) {
	if wait <= 0 {
		r.trigger.Enqueue(key)
		return
	}
	r.trigger.EnqueueAfter(key, wait)
}

// Reconcile checks one repository. It waits for no write: what follows one runs when it has ended.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	return r.statuses.Reconcile(ctx, req, r.begin)
}

// begin checks the repository, and begins to write what it has found.
func (r *Reconciler) begin(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	before := &v1alpha1.GitRepository{}
	if err := r.Hub.Get(ctx, req.NamespacedName, before); err != nil {
		if apierrors.IsNotFound(err) {
			return reconcile.Result{}, r.forget(req.NamespacedName)
		}
		return reconcile.Result{}, fmt.Errorf("cannot read GitRepository: %w", err)
	}
	known := before
	if last, foreign := r.statuses.Foreign(before); foreign { // what was fetched is there, although the status was wiped
		known = before.DeepCopy()
		known.Status = last.Status
	}
	facts, err := r.observe(ctx, known)
	if err != nil {
		return reconcile.Result{}, err
	}
	found := report.Source(facts)
	after := before.DeepCopy()
	after.Status = found.Status
	return r.statuses.CommitThen(ctx, before, after, func() (reconcile.Result, error) {
		hubapi.Record(r.Recorder, after, "Fetch", found.Events)
		return reconcile.Result{RequeueAfter: found.Requeue}, nil
	})
}

// observe collects the facts. It fails only with errors that say nothing of the repository.
func (r *Reconciler) observe(ctx context.Context, repo *v1alpha1.GitRepository) (report.SourceFacts, error) {
	facts := report.SourceFacts{Object: repo, Jitter: r.Jitter()}
	if !repo.Spec.Suspend {
		commit, ignored, err := r.follow(ctx, repo)
		if err == nil {
			facts.Included, err = r.include(ctx, repo, &commit)
		}
		if err != nil && !report.IsReportable(err) {
			return facts, err
		}
		facts.Err, facts.Failures = err, r.count(repo, err != nil)
		facts.Unverified = isUnverified(err)
		facts.IgnoredKeys, facts.IgnoredKeysChanged = ignored, r.ignoredChanged(repo, ignored)
		if err == nil {
			facts.Artifact = artifact(repo.Status.Artifact, commit, r.Now())
			facts.Rewritten, facts.Submodules = commit.ForcePushed, commit.Submodules
			facts.Verified = commit.Verified
		}
	}
	facts.Now = r.Now()
	return facts, nil
}

// follow checks the ref. It returns the keys of the repository's Secrets that nothing reads as well.
func (r *Reconciler) follow(ctx context.Context, repo *v1alpha1.GitRepository) (git.Commit, []string, error) {
	auth, err := r.auth(ctx, repo)
	if err != nil {
		return git.Commit{}, nil, err
	}
	ignored := auth.Ignored()
	verify, err := r.verification(ctx, repo)
	if err != nil {
		return git.Commit{}, ignored, err
	}
	req := request(repo, auth)
	req.Verify = verify
	var commit git.Commit
	err = recovery.Run(func() (err error) {
		commit, err = r.Follow(ctx, req)
		return err
	})
	if p, ok := errors.AsType[*recovery.Panic](err); ok {
		log.FromContext(ctx).Error(p, "recovered from a panic", p.Details()...)
	}
	if err != nil {
		return git.Commit{}, ignored, explain(err)
	}
	return commit, ignored, nil
}

func request(repo *v1alpha1.GitRepository, auth git.Auth) git.Request {
	req := git.RequestFor(repo)
	req.Key, req.Auth = Key(types.NamespacedName{Namespace: repo.Namespace, Name: repo.Name}), auth
	return req
}

// artifact describes a commit. Its time moves when the commit was brought from the server, also when
// that is for the second time because the store was lost: then who renders must be woken.
func artifact(old *v1alpha1.Artifact, commit git.Commit, now time.Time) *v1alpha1.Artifact {
	a := &v1alpha1.Artifact{Revision: commit.Revision, Digest: commit.Digest, Size: commit.Size}
	a.LastUpdateTime.Time = now.Truncate(time.Second)
	switch {
	case old == nil || old.Revision != a.Revision || old.Digest != a.Digest:
	case !commit.Fetched:
		a.LastUpdateTime = old.LastUpdateTime
	case !a.LastUpdateTime.After(old.LastUpdateTime.Time):
		a.LastUpdateTime.Time = old.LastUpdateTime.Add(time.Second) // the API keeps whole seconds
	}
	return a
}

// count returns how many checks in a row have failed.
func (r *Reconciler) count(repo *v1alpha1.GitRepository, failed bool) int {
	key := types.NamespacedName{Namespace: repo.Namespace, Name: repo.Name}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !failed {
		delete(r.failures, key)
		return 0
	}
	r.failures[key]++
	return r.failures[key]
}

// ignoredChanged reports whether the keys that nothing reads are others than at the check before. At the first
// check of a process they are not: an event told of them when they came.
func (r *Reconciler) ignoredChanged(repo *v1alpha1.GitRepository, keys []string) bool {
	key := types.NamespacedName{Namespace: repo.Namespace, Name: repo.Name}
	joined := strings.Join(keys, ",")
	r.mu.Lock()
	defer r.mu.Unlock()
	before, looked := r.ignored[key]
	r.ignored[key] = joined
	return looked && before != joined
}

func (r *Reconciler) forget(key types.NamespacedName) error {
	r.mu.Lock()
	delete(r.failures, key)
	delete(r.ignored, key)
	r.mu.Unlock()
	r.statuses.Forget(key)
	if err := r.Forget(Key(key)); err != nil {
		return fmt.Errorf("cannot remove what was fetched: %w", err)
	}
	return nil
}
