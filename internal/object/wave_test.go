package object

import (
	"strings"
	"testing"
)

func TestWaves(t *testing.T) {
	for annotations, want := range map[string]int32{
		"": 0, "skerry.dev/wave=3": 3, "skerry.dev/wave=-2": -2, "argocd.argoproj.io/sync-wave=5": 5, "argocd.argoproj.io/sync-wave=-1": -1,
		"argocd.argoproj.io/sync-wave=5,skerry.dev/wave=1": 1, "argocd.argoproj.io/sync-wave=soon": 0, "example.com/wave=7": 0,
	} {
		m := map[string]any{}
		for a := range strings.SplitSeq(annotations, ",") {
			if key, value, ok := strings.Cut(a, "="); ok {
				m[key] = value
			}
		}
		o, err := FromMap(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "web", "annotations": m}})
		if err != nil || o.Wave != want {
			t.Errorf("%s: wave %d, %v; want %d", annotations, o.Wave, err, want)
		}
		b, err := DecodeBundle(Bundle{Objects: []Object{o}}.Encode())
		if err != nil || b.Objects[0].Wave != want {
			t.Errorf("%s: %v from a bundle, %v", annotations, b.Objects, err)
		}
	}
	for _, bad := range []string{"soon", "1.5", "99999999999"} {
		_, err := FromMap(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "web", "annotations": map[string]any{WaveKey: bad}}})
		if err == nil || !strings.Contains(err.Error(), WaveKey) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
