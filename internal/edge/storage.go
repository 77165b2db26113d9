package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	storagev1 "k8s.io/api/storage/v1"

	"github.com/skerry-dev/skerry/internal/text"
)

// WaitsForConsumer reports whether a StorageClass binds a claim only when a Pod uses it.
func (c *Client) WaitsForConsumer(ctx context.Context, class string) (bool, error) {
	if !text.IsPrintable(class, maxName) || class == "" || class == "." || class == ".." || strings.ContainsAny(class, "/%") {
		return false, fmt.Errorf("the name of the StorageClass is none")
	}
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	res := c.rest.Get().AbsPath("/apis/storage.k8s.io/v1/storageclasses", class).SetHeader("Accept", "application/json").Do(ctx)
	raw, err := res.Raw()
	if err != nil {
		return false, res.Error() // which names what was not found
	}
	var sc struct {
		VolumeBindingMode storagev1.VolumeBindingMode `json:"volumeBindingMode"`
	}
	if err := json.Unmarshal(raw, &sc); err != nil {
		return false, fmt.Errorf("%w: asked for a StorageClass", ErrNotAPI)
	}
	return sc.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer, nil
}
