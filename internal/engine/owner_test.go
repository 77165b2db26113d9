package engine

import (
	"testing"

	"github.com/skerry-dev/skerry/internal/object"
)

func TestTheOwnerOfAnEntryIsItsKustomization(t *testing.T) {
	key := Key{Namespace: "north", Name: "edge-1"}
	for entry, want := range map[string]object.Owner{
		"apps":       {Hub: "hub", Namespace: "north", Name: "apps"}, // as before there were others, so that nothing is orphaned
		"fleet/apps": {Hub: "hub", Namespace: "fleet", Name: "apps"},
	} {
		if got := ownerOf("hub", key, entry); got != want.Label() {
			t.Errorf("%s: %s, want %s", entry, got, want.Label())
		}
	}
}
