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
		if message := s.Message(); !strings.HasPrefix(message, want) || len(clusters) < 1000 && message != want || len(message) > maxNames+100 {
			t.Errorf("%q, want %q", message, want)
		}
		annotations := s.Annotations()
		if len(annotations) == 0 != (len(clusters) == 0) || len(fmt.Sprint(annotations)) > maxAnnotation+100 {
			t.Errorf("%q: annotations %v", want, annotations)
		}
		for _, name := range clusters {
			if !StandsFor(annotations, name) {
				t.Errorf("%s is not found in %v", name, annotations)
			}
		}
		for _, name := range []string{"shop-3", "shop"} {
			if StandsFor(annotations, name) != (len(clusters) == 1000) {
				t.Errorf("%s: %v", name, annotations)
			}
		}
	}
	if message := Summary(many).Message(); !strings.HasSuffix(message, " and 964 other clusters") {
		t.Errorf("%q", message)
	}
}
