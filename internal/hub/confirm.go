package hub

import (
	"context"
	"fmt"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/internal/fence"
	"github.com/skerry-dev/skerry/internal/hubapi"
)

// confirmer returns what asks the API server whether the Clusters that this process holds are still its
// own. It goes past the fence, which is closed while it asks.
func (p *parts) confirmer(plain *rest.Config) func(context.Context) error {
	return func(ctx context.Context) error {
		if p.holder == nil {
			return nil // it had not begun
		}
		scheme, err := newScheme()
		if err != nil {
			return err
		}
		api, err := client.New(plain, client.Options{Scheme: scheme})
		if err != nil {
			return fmt.Errorf("cannot reach the hub's own cluster: %w", err)
		}
		taken, err := p.holder.Taken(ctx, hubapi.Direct{Reader: api})
		if err == nil && taken != "" {
			err = fmt.Errorf("%w: another shard has taken the Cluster %s", fence.ErrLost, taken)
		}
		return err
	}
}
