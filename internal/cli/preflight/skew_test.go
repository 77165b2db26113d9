package preflight

import (
	"errors"
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/cli/factory"
)

func TestUpgradeGoesForwardInSteps(t *testing.T) {
	for name, tt := range map[string]struct {
		installed, wanted string
		allow             bool
		says, next        string
	}{
		"nothing is there":           {"", "v0.4.0", false, "", ""},
		"the same":                   {"v0.4.0", "v0.4.0", false, "", ""},
		"a patch":                    {"v0.4.0", "v0.4.1", false, "", ""},
		"two minor versions":         {"v0.4.3", "v0.6.0", false, "", ""},
		"three minor versions":       {"v0.4.3", "v0.7.0", false, "more than 2 minor versions newer", "first --version v0.6.0"},
		"another major version":      {"v0.4.3", "v1.0.0", false, "more than 2 minor versions newer", "in steps"},
		"back":                       {"v0.4.1", "v0.4.0", false, "the hub there is of version v0.4.1, and v0.4.0 is older", "use a command line of version v0.4.1"},
		"back, as is wanted":         {"v0.7.0", "v0.3.0", true, "", ""},
		"a release candidate, back":  {"v0.4.0", "v0.4.0-rc.1", false, "is older", "--allow-downgrade"},
		"a build of a checkout":      {"v0.4.0", "3f2a1b", false, "", ""},
		"over a build of a checkout": {"3f2a1b", "v0.1.0", false, "", ""},
	} {
		err := upgrade(tt.installed, tt.wanted, tt.allow)
		advised, _ := errors.AsType[*factory.NextError](err)
		switch {
		case tt.says == "" && err != nil, tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		case tt.says != "" && (advised == nil || !strings.Contains(advised.Next, tt.next)):
			t.Errorf("%s: %+v, want %q as the next step", name, advised, tt.next)
		}
	}
}
