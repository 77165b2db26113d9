package hub

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/controllers/gitrepository"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// cleanEvery is how often bundles that are not used are removed.
const cleanEvery = 10 * time.Minute

// clean removes from the disk what is used no longer: at the start, repositories whose object went
// while no hub was there, and now and then bundles that no Assignment names.
func (p *parts) clean(ctx context.Context, log logr.Logger) error {
	if err := recovery.Run(func() error { return p.cleanRepositories(ctx) }); err != nil {
		log.Error(err, "cannot remove old repositories", recovery.Details(err)...)
	}
	tick := time.NewTicker(cleanEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		removed := 0
		err := recovery.Run(func() (err error) {
			removed, err = p.cleanBundles(ctx)
			return err
		})
		if err != nil {
			log.Error(err, "cannot remove old bundles", recovery.Details(err)...)
		}
		if removed > 0 {
			log.V(1).Info("removed old bundles", "count", removed)
		}
	}
}

func (p *parts) cleanRepositories(ctx context.Context) error {
	if p.git == nil { // another shard fetches
		return nil
	}
	list := &v1alpha1.GitRepositoryList{}
	if err := p.reader.List(ctx, list); err != nil {
		return fmt.Errorf("cannot list GitRepositories: %w", err)
	}
	keys := make([]string, 0, len(list.Items))
	for i := range list.Items {
		keys = append(keys, gitrepository.Key(client.ObjectKeyFromObject(&list.Items[i])))
	}
	return p.git.Retain(keys)
}

// cleanBundles keeps what is assigned, what a change that is undone goes back to, what is about to be
// assigned and holds objects that move there, what was undone and holds objects that stay, what engines work on,
// and what stands in on a cluster while something newer is refused there.
func (p *parts) cleanBundles(ctx context.Context) (int, error) {
	list := &v1alpha1.AssignmentList{}
	if err := p.reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("cannot list Assignments: %w", err)
	}
	keep := map[string]struct{}{}
	for i := range list.Items {
		for _, e := range list.Items[i].Spec.Entries {
			keep[e.Digest], keep[e.Undone] = struct{}{}, struct{}{}
			if e.Fallback != nil {
				keep[e.Fallback.Digest] = struct{}{}
			}
			for _, digest := range e.KeepFor {
				keep[digest] = struct{}{}
			}
		}
		for _, e := range list.Items[i].Status.Entries {
			keep[e.Digest], keep[e.AppliedDigest] = struct{}{}, struct{}{}
		}
	}
	return p.bundles.Collect(keep)
}
