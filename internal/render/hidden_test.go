package render

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/object"
)

// What comes from a Secret and may be part of a path is hidden: keys of maps and what names an item of a list,
// and nothing else. A bundle tells it to whoever reads it again.
func TestTextsThatMayBePartOfAPathAreHidden(t *testing.T) {
	for name, tt := range map[string]struct {
		manifest string
		want     map[string]string
	}{
		"a key of data":              {"data: {\"${secret}\": a}", map[string]string{"canary": "${secret}"}},
		"a key with text beside":     {"data: {\"tls-${secret}.pem\": a}", map[string]string{"tls-canary.pem": "tls-${secret}.pem"}},
		"a key that is computed":     {"data: {\"${secret^^}\": a}", map[string]string{"CANARY": "${secret}"}},
		"a key of no secret":         {"data: {\"${open}\": a}", nil},
		"a value":                    {"data: {a: \"${secret}\"}", nil},
		"a value of a list":          {"list: [{name: a, value: \"${secret}\"}]", nil},
		"the name of an item":        {"list: [{name: \"${secret}\"}]", map[string]string{"canary": "${secret}"}},
		"a number that names one":    {"list:\n- port: ${number}", map[string]string{"8099": "${number}"}},
		"an item":                    {"list: [\"a-${secret}\"]", map[string]string{"a-canary": "a-${secret}"}},
		"a field deeper in an item":  {"list: [{name: a, more: {b: \"${secret}\"}}]", nil},
		"a list that a variable is":  {"list: ${list}", map[string]string{"alpha": "${list}", "beta": "${list}"}},
		"a quote in a key":           {"data: {\"${quoted}\": a}", map[string]string{`a"b`: "${quoted}", `a\"b`: "${quoted}"}},
		"an item and a key, of open": {"list: [{name: \"${open}\", \"${open}\": b}]", nil},
	} {
		t.Run(name, func(t *testing.T) {
			manifest := "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: web, labels: {a: b}}\n" + tt.manifest + "\n"
			o := Options{PostBuild: &PostBuild{SubstituteFrom: []Source{
				{Data: map[string]string{"secret": "canary", "number": "8099", "list": "[alpha, beta]", "quoted": `a"b`}, Secret: true}, {Data: map[string]string{"open": "public"}},
			}}}
			made, err := Build(t.Context(), repo(t, map[string]string{"web.yaml": manifest}), o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, made.Bundle.Hidden); diff != "" {
				t.Error(diff)
			}
			if tt.want != nil && !made.Bundle.Confidential {
				t.Error("the bundle is not confidential")
			}
			again, err := object.DecodeBundle(made.Bundle.Encode())
			if err != nil || len(again.Objects) != 1 {
				t.Fatalf("read again: %v, %v", again, err)
			}
			if diff := cmp.Diff(tt.want, again.Hidden); diff != "" {
				t.Errorf("read again: %s", diff)
			}
			if made.Bundle.Size() != len(made.Bundle.Encode()) {
				t.Error("the size is not that of what is encoded")
			}
		})
	}
}
