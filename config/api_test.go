package config_test

import (
	"os"
	"strings"
	"testing"
)

// TestEveryFieldIsDescribed reads the API reference, which is generated from the types: each field has a
// description, and all of our kinds are there.
func TestEveryFieldIsDescribed(t *testing.T) {
	data, err := os.ReadFile("API.md")
	if err != nil {
		t.Fatal(err)
	}
	section, fields := "", 0
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "#### "); ok {
			section = strings.TrimSpace(name)
		}
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(line, " | ")
		if fields++; len(cells) < 2 || strings.Trim(cells[1], "| \n") == "" {
			t.Errorf("%s: %s has no description", section, strings.TrimPrefix(cells[0], "| "))
		}
	}
	if fields < 200 {
		t.Errorf("only %d fields are found", fields)
	}
	for _, kind := range []string{"Assignment", "Cluster", "GitRepository", "Kustomization", "Receiver"} {
		if !strings.Contains(string(data), "\n- ["+kind+"](#"+strings.ToLower(kind)+")") {
			t.Errorf("%s is missing", kind)
		}
	}
}
