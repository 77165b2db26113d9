package diff

import (
	"fmt"
	"strings"
	"testing"
)

// TestSecretThatIsNewShowsNoValue, also not the one that kubectl has copied into an annotation.
func TestSecretThatIsNewShowsNoValue(t *testing.T) {
	const value = "aHVudGVyMg=="
	o := map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{"name": "s", "annotations": map[string]any{"kubectl.kubernetes.io/last-applied-configuration": `{"data":{"password":"` + value + `"}}`}},
		"data":     map[string]any{"password": value}, "stringData": map[string]any{"user": "hunter2"},
	}
	shown := fmt.Sprint(Whole(o, []string{}))
	if strings.Contains(shown, value) || strings.Contains(shown, "hunter2") || !strings.Contains(shown, "last-applied-configuration:***") {
		t.Errorf("shows %s", shown)
	}
	if all := fmt.Sprint(Whole(o, nil)); !strings.Contains(all, value) {
		t.Errorf("--show-secrets shows %s", all)
	}
	if got := fmt.Sprint(o); !strings.Contains(got, value) {
		t.Errorf("the object itself was changed: %s", got)
	}
}
