package cli

import (
	"net/http"
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/edgeproxy"
)

// TestVersionsThatDoNotGoTogetherAreRefused before anything is written: an API server that is too old, and a hub that is
// newer, or too much older, than what would be installed.
func TestVersionsThatDoNotGoTogetherAreRefused(t *testing.T) {
	c := controlplane.New(t, "skew", controlplane.Options{})
	old := edgeproxy.New(t, c.RESTConfig())
	old.Answer(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/version":
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"major": "1", "minor": "20", "gitVersion": "v1.20.4+k3s1"}`))
			return true
		case r.Method != http.MethodGet && !strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		return false
	})
	kubeconfig := writeKubeconfig(t, old.Config())
	const tooOld = "the API server is of Kubernetes v1.20.4+k3s1"
	r := run(t, kubeconfig, "", "check", "--pre")
	if r.want(t, factory.ExitFailed); !strings.Contains(r.out, "✗ API server: "+tooOld+"\n  next: Skerry needs 1.29.0 or newer") {
		t.Errorf("check --pre:\n%s", r.out)
	}
	run(t, kubeconfig, "", "install").want(t, factory.ExitFailed, tooOld, "next: Skerry needs 1.29.0 or newer")
	run(t, kubeconfig, "", "bootstrap", "git", "--url", "https://127.0.0.1:1/fleet.git").want(t, factory.ExitFailed, tooOld, "next: Skerry needs 1.29.0 or newer")

	install := func(version string, more ...string) ran {
		return run(t, c.Kubeconfig(), "", append([]string{"install", "--version", version, "--wait=false"}, more...)...)
	}
	install("v0.5.1").want(t, factory.ExitOK)
	install("v0.5.0").want(t, factory.ExitFailed, "the hub there is of version v0.5.1, and v0.5.0 is older", "--allow-downgrade goes back all the same")
	install("v0.8.0").want(t, factory.ExitFailed, "more than 2 minor versions newer", "first --version v0.7.0")
	run(t, c.Kubeconfig(), "", "bootstrap", "git", "--url", "https://127.0.0.1:1/fleet.git", "--version", "v0.4.0").want(t, factory.ExitFailed, "✗ cluster", "v0.4.0 is older")
	install("v0.7.3").want(t, factory.ExitOK)
	install("v0.5.1", "--allow-downgrade").want(t, factory.ExitOK)
	// What an upgrade would have to know is in check, too.
	r = run(t, c.Kubeconfig(), "", "check", "--pre")
	if r.want(t, factory.ExitFailed); !strings.Contains(r.out, "✗ versions: command line v0.0.0-test and hub v0.5.1 are more than two minor versions apart\n  next: ") {
		t.Errorf("check --pre:\n%s", r.out)
	}
}
