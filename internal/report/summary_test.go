package report

import (
	"fmt"
	"strings"
	"testing"
)

func TestASummaryNamesTheClustersThatItStandsFor(t *testing.T) {
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("shop-%04d", i))
	}
	for want, clusters := range map[string][]string{
		"":                                     nil,
		"; and 1 more event like this: shop-1": {"shop-1"},
		"; and 3 more events like this: north/shop-2, shop-1":    {"shop-1", "north/shop-2", "shop-1"},
		"; and 1000 more events like this: shop-0000, shop-0001": many,
	} {
		s := Summary(clusters)
		if !strings.HasPrefix(s, want) || len(clusters) < 1000 && s != want || len(s) > maxNames+100 {
			t.Errorf("%q, want %q", s, want)
		}
		message := "edge-1: Pruned ConfigMap/a" + s
		for _, name := range clusters {
			if !SumsUp(message, name) {
				t.Errorf("%s is not found in %q", name, message)
			}
		}
		for _, name := range []string{"shop-3", "shop"} {
			if SumsUp(message, name) != (len(clusters) == 1000) {
				t.Errorf("%s: %q", name, message)
			}
		}
	}
	if s := Summary(many); !strings.HasSuffix(s, " and 964 other clusters") {
		t.Errorf("%q", s)
	}
}
