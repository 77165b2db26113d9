package envsubst

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

func TestTextIsSubstituted(t *testing.T) {
	for name, tt := range map[string]struct {
		strict                    bool
		in, out, wantErr, warning string
	}{
		"values and defaults":    {in: "a: ${region} ${size:=3} $${region}\n", out: "a: north 3 ${region}\n"},
		"no value":               {in: "a: ${gone}\n", out: "a: \n", warning: "warning: empty, for want of a value: gone (the hub refuses that, as --strict does)\n"},
		"no value, and strict":   {strict: true, in: "a: ${gone} ${lost}\n", wantErr: "no value: gone, lost"},
		"no expression":          {in: "a: ${region\n", wantErr: `SubstitutionFailed: cannot read the expression "${region…" (a literal ${ is written $${)`},
		"strict, and all is set": {strict: true, in: "${region}${empty}", out: "north"},
	} {
		t.Run(name, func(t *testing.T) {
			streams, in, out, log := iostreams.Test()
			in.WriteString(tt.in)
			o := &Options{
				Factory: &factory.Factory{IO: streams}, Strict: tt.strict,
				Environ: func() []string { return []string{"region=north", "empty=", "bare"} },
			}
			message := ""
			if err := run(t.Context(), o); err != nil {
				message = err.Error()
			}
			if diff := cmp.Diff([]string{tt.out, tt.wantErr, tt.warning}, []string{out.String(), message, log.String()}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
