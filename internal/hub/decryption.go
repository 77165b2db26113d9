package hub

import (
	"context"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/controllers/kustomization"
	"github.com/skerry-dev/skerry/internal/decrypt"
	"github.com/skerry-dev/skerry/internal/render"
)

// decryption is how the Kustomizations of this hub open encrypted files. What they wait for ends with ctx.
func decryption(ctx context.Context, o Options) kustomization.Decryption {
	d := kustomization.Decryption{Keys: func(secret string, data map[string]string, id string, shared bool) (*render.Decryption, error) {
		values := make(map[string][]byte, len(data))
		for name, value := range data {
			values[name] = []byte(value)
		}
		keys, err := decrypt.Parse(secret, values)
		if err != nil {
			return nil, err
		}
		if shared {
			keys = keys.Local()
		}
		return keys.Decryption(ctx, id), nil
	}}
	if o.DecryptionSecret != "" {
		d.Secret = types.NamespacedName{Namespace: o.LeaderNamespace, Name: o.DecryptionSecret}
	}
	return d
}
