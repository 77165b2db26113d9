package hub

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/controllers/kustomization"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/sopsclient"
)

// sopsProgram opens encrypted files. It lies beside the hub's own program.
const sopsProgram = "skerry-sops"

// decryption is how the Kustomizations of this hub open encrypted files. What they wait for ends with ctx.
func decryption(ctx context.Context, o Options) (kustomization.Decryption, error) {
	command := o.SOPSCommand
	if command == nil {
		self, err := os.Executable()
		if err != nil {
			return kustomization.Decryption{}, fmt.Errorf("cannot find the hub's own program: %w", err)
		}
		command = []string{filepath.Join(filepath.Dir(self), sopsProgram)}
	}
	keys := &checkedKeys{client: sopsclient.New(ctx, command, o.Log), checked: map[string]error{}}
	d := kustomization.Decryption{Keys: keys.of}
	if o.DecryptionSecret != "" {
		d.Secret = types.NamespacedName{Namespace: o.LeaderNamespace, Name: o.DecryptionSecret}
	}
	return d, nil
}

// checkedKeys remembers which keys were read, so that a reconcile asks the program nothing.
type checkedKeys struct {
	client *sopsclient.Client

	mu      sync.Mutex
	checked map[string]error // by the name of the Secret and the id of its data; guarded by mu
}

// checkedLimit bounds what is remembered. Beyond it all is read anew.
const checkedLimit = 1000

func (k *checkedKeys) of(secret string, data map[string]string, id string, shared bool) (*render.Decryption, error) {
	values := make(map[string][]byte, len(data))
	for name, value := range data {
		values[name] = []byte(value)
	}
	name := secret + "\x00" + id
	k.mu.Lock()
	err, known := k.checked[name]
	k.mu.Unlock()
	if !known {
		err = k.client.Check(secret, values)
		if sopsclient.Answered(err) {
			k.mu.Lock()
			if len(k.checked) >= checkedLimit {
				clear(k.checked)
			}
			k.checked[name] = err
			k.mu.Unlock()
		}
	}
	switch {
	case !sopsclient.Answered(err):
		return nil, &report.Transient{Reason: v1alpha1.DecryptionFailedReason, Err: err}
	case err != nil:
		return nil, err
	}
	return k.client.Decryption(id, secret, values, shared), nil
}
