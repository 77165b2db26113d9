package logs

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const applied = `{"time":"2026-01-01T12:00:00.5Z","level":"INFO","msg":"pass ended","logger":"engine","cluster":"skerry-system/shop-1","kustomization":"team/web","objects":3,"error":"two words","nothing":null}`

func TestARecordIsReadByAPerson(t *testing.T) {
	for in, want := range map[string]string{
		applied: `2026-01-01T12:00:00.5Z INFO pass ended cluster=skerry-system/shop-1 kustomization=team/web error="two words" logger=engine objects=3`,
		`{"time":"2026-01-01T12:00:00Z","level":"ERROR","msg":"m","cluster":{"name":"a","namespace":"n"},"paths":["x","y"],"at":""}`: `2026-01-01T12:00:00Z ERROR m cluster=n/a at="" paths="[\"x\",\"y\"]"`,
	} {
		r := parse(in)
		if r == nil {
			t.Fatalf("no record: %s", in)
		}
		if diff := cmp.Diff(want, r.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	for _, in := range []string{"panic: no", "", `{"broken`, `["a list"]`} {
		if parse(in) != nil {
			t.Errorf("%q is a record", in)
		}
	}
}

func TestRecordsAreFilteredByWhatTheyAreAbout(t *testing.T) {
	level := func(l slog.Level) *slog.Level { return &l }
	for name, tt := range map[string]struct {
		filter filter
		want   bool
	}{
		"all":                        {filter{}, true},
		"the cluster":                {filter{cluster: "skerry-system/shop-1"}, true},
		"a cluster like it":          {filter{cluster: "skerry-system/shop"}, false},
		"one of its name, elsewhere": {filter{cluster: "team/shop-1"}, false},
		"both":                       {filter{cluster: "skerry-system/shop-1", kustomization: "team/web"}, true},
		"another kustomization":      {filter{cluster: "skerry-system/shop-1", kustomization: "team/api"}, false},
		"the level":                  {filter{level: level(slog.LevelInfo)}, true},
		"a level above":              {filter{level: level(slog.LevelWarn)}, false},
	} {
		if got := tt.filter.matches(parse(applied)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	reconciled := parse(`{"level":"ERROR","msg":"Reconciler error","controllerKind":"Kustomization","Kustomization":{"name":"web","namespace":"team"}}`)
	if !(filter{kustomization: "team/web"}).matches(reconciled) || (filter{cluster: "team/web"}).matches(reconciled) {
		t.Error("what a controller says of a Kustomization is not about it")
	}
	if (filter{cluster: "skerry-system/shop-1"}).matches(parse(`{"level":"INFO","msg":"starting"}`)) {
		t.Error("what is about no cluster is taken for one")
	}
}
