package status

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/screen"
)

const (
	// coalesceDelay is how long a change waits for others before all are shown: a commit to a fleet changes thousands of
	// objects within a second.
	coalesceDelay = 300 * time.Millisecond
	// aging is after how long ages are shown anew while nothing changes.
	aging = 10 * time.Second
)

// follow shows the report whenever something changes, until ctx ends. It watches: nothing is listed twice.
func follow(ctx context.Context, o *Options, hub *factory.Hub, namespace string) error {
	if o.Flags.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Flags.Timeout)
		defer cancel()
	}
	changed := make(chan struct{}, 1)
	kept, err := watched(ctx, hub, namespace, func() {
		select {
		case changed <- struct{}{}:
		default: // already noted
		}
	})
	if err != nil {
		return err
	}
	at := screen.New(o.IO, o.Now)
	for {
		lease, err := ReadLease(ctx, hub)
		if err != nil && ctx.Err() == nil && at.InPlace() {
			lease = nil // the hub's API server is away; what is kept stays on the screen, and ages
		} else if err != nil && ctx.Err() == nil {
			return err
		}
		facts, err := list(ctx, kept, hub.Config.Host, namespace, o.Now)
		if err == nil {
			facts.Lease = lease
			r := Summarize(facts)
			text := Text(r, o.view(facts.Now))
			line, _, _ := strings.Cut(text, "\n")
			err = at.Show(text, line)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err := pause(ctx, changed); err != nil {
			if errors.Is(err, context.DeadlineExceeded) { // as asked for with --timeout
				return nil
			}
			return err
		}
	}
}

// pause waits for a change and the changes that come soon after it, or until ages are to be shown anew.
func pause(ctx context.Context, changed <-chan struct{}) error {
	wait := time.NewTimer(aging)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wait.C:
		return nil
	case <-changed:
	}
	settle := time.NewTimer(coalesceDelay)
	defer settle.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-settle.C:
		return nil
	}
}

// watched returns a cache of the hub's kinds that calls back at each change; it ends with ctx.
func watched(ctx context.Context, hub *factory.Hub, namespace string, change func()) (cache.Cache, error) {
	scheme, err := factory.Scheme()
	if err != nil {
		return nil, err
	}
	opts := cache.Options{Scheme: scheme, Mapper: hub.RESTMapper()}
	if namespace != "" {
		opts.DefaultNamespaces = map[string]cache.Config{namespace: {}}
	}
	kept, err := cache.New(rest.CopyConfig(hub.Config), opts)
	if err != nil {
		return nil, fmt.Errorf("cannot watch the hub: %w", err)
	}
	for _, o := range []client.Object{&v1alpha1.GitRepository{}, &v1alpha1.Kustomization{}, &v1alpha1.Cluster{}, &v1alpha1.Assignment{}} {
		informer, err := kept.GetInformer(ctx, o, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("cannot watch the hub: %w", err)
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { change() }, UpdateFunc: func(_, _ any) { change() }, DeleteFunc: func(any) { change() },
		})
		if err != nil {
			return nil, fmt.Errorf("cannot watch the hub: %w", err)
		}
	}
	go func() { _ = kept.Start(ctx) }() // ends with ctx; what it cannot do shows in the next line
	asking, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if !kept.WaitForCacheSync(asking) {
		// A list says why.
		if _, err := Gather(asking, hub, namespace, func() time.Time { return time.Time{} }); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("cannot watch the hub: %w", asking.Err())
	}
	return kept, nil
}
