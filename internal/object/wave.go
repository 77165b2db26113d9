package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// Annotations that put an object into a wave: an integer, 0 when absent. Ours wins over Argo CD's.
const (
	WaveKey     = "skerry.dev/wave"
	ArgoWaveKey = "argocd.argoproj.io/sync-wave"
)

// WaveOf reads the wave of an object. What is no integer is an error in our annotation, and 0 in Argo CD's, as
// there.
func WaveOf(annotations map[string]string) (int32, error) {
	if v := annotations[WaveKey]; v != "" {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("annotation %s: want an integer", WaveKey)
		}
		return int32(n), nil
	}
	n, err := strconv.ParseInt(annotations[ArgoWaveKey], 10, 32)
	if err != nil {
		return 0, nil //nolint:nilerr // Argo CD passes over it
	}
	return int32(n), nil
}

// wave reads annotations as they stand in a body. Most objects are in no wave, and are not decoded for it.
func wave(annotations json.RawMessage) int32 {
	if !bytes.Contains(annotations, []byte("wave")) {
		return 0
	}
	n, _ := WaveOf(stringsOf(annotations)) // FromMap has refused what is wrong
	return n
}
