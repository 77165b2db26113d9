package plan

import (
	"testing"

	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
)

// TestAWaveBeginsWhenAllBeforeAreHealthy names the first object that it waits for.
func TestAWaveBeginsWhenAllBeforeAreHealthy(t *testing.T) {
	desired := []object.Object{
		{ID: object.ID{Kind: "ConfigMap", Name: "a"}}, {ID: object.ID{Kind: "Pod", Name: "b"}, Wave: 1}, {ID: object.ID{Kind: "Pod", Name: "c"}, Wave: 1},
		{ID: object.ID{Kind: "Pod", Name: "ignored"}, Policy: object.Policy{Mode: object.Ignore}}, {ID: object.ID{Kind: "ConfigMap", Name: "d"}, Wave: 3},
	}
	current := health.Status{Phase: health.Current}
	for name, tc := range map[string]struct {
		wave int32
		not  map[string]health.Status // of the objects that stand and are not healthy
		gone string                   // does not stand as desired
		want string
	}{
		"the first wave":               {0, map[string]health.Status{"b": {}}, "a", ""},
		"all is well":                  {3, nil, "d", ""},
		"its own objects do not count": {1, map[string]health.Status{"b": {}}, "c", ""},
		"one is not applied":           {3, nil, "b", "wave 3 begins after wave 1, of which Pod/b is not applied"},
		"one is on its way":            {3, map[string]health.Status{"c": {Message: "0 of 1"}}, "", "wave 3 begins after wave 1, of which Pod/c is not healthy: 0 of 1"},
		"one failed":                   {3, map[string]health.Status{"b": {Phase: health.Failed}}, "", "wave 3 begins after wave 1, of which Pod/b is not healthy"},
		"the first of two is named":    {3, map[string]health.Status{"b": {}}, "a", "wave 3 begins after wave 0, of which ConfigMap/a is not applied"},
	} {
		got := Awaited(desired, tc.wave, func(o object.Object) (health.Status, bool) {
			if o.Name == tc.gone {
				return health.Status{}, false
			}
			if is, not := tc.not[o.Name]; not {
				return is, true
			}
			return current, true
		})
		if got != tc.want {
			t.Errorf("%s: %q; want %q", name, got, tc.want)
		}
	}
}
