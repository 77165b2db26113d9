package render

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTextIsSubstitutedAsAStringOfAManifestIs(t *testing.T) {
	vars := map[string]string{"region": "north", "empty": "", "odd": `a "b" #c`}
	for name, tt := range map[string]struct{ in, want, missing, err string }{
		"a value":                             {in: "at: ${region}\n", want: "at: north\n"},
		"a default":                           {in: "${size:=3} ${empty:=4} ${size:-5}", want: "3 4 5"},
		"a value as it is":                    {in: "x: ${odd}", want: `x: a "b" #c`},
		"an escape":                           {in: "$${region} $$${region} $$ $1 $(cmd)", want: "${region} $north $$ $1 $(cmd)"},
		"an empty value":                      {in: "[${empty}]", want: "[]"},
		"no value":                            {in: "[${b}${a}${a}]", want: "[]", missing: "a b"},
		"in several parts":                    {in: "a: ${region}\n---\nb: ${region}\n---\nc: ${gone}", want: "a: north\n---\nb: north\n---\nc: ", missing: "gone"},
		"nothing to replace":                  {in: "plain\n", want: "plain\n"},
		"what cannot be read":                 {in: "a: ${region", err: `cannot read the expression "${region…" (a literal ${ is written $${)`},
		"what Flux's library means otherwise": {in: "${region:+x}", err: "${region:+…} is not supported: give a default with ${region:=…}, or write $${region:+…} to keep the text"},
		"too many references":                 {in: strings.Repeat("${region}", maxReferences+1), err: "a document is too large to substitute variables in: more than 3 MiB or 20000 references"},
	} {
		t.Run(name, func(t *testing.T) {
			got, missing, err := Text(tt.in, vars)
			message := ""
			if err != nil {
				message = err.Message
			}
			if diff := cmp.Diff([]string{tt.want, tt.missing, tt.err}, []string{got, strings.Join(missing, " "), message}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
