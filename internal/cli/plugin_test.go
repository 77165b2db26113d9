package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

func TestCalledAs(t *testing.T) {
	for program, want := range map[string]struct {
		plugin bool
		args   string
	}{
		"/usr/bin/skerry":              {false, "get all"},
		"/krew/bin/kubectl-skerry":     {true, "get all"},
		"kubectl-skerry.exe":           {true, "get all"},
		"/bin/kubectl_complete-skerry": {true, "__complete get all"},
	} {
		plugin, args := calledAs(program, []string{"get", "all"})
		if plugin != want.plugin || !slices.Equal(args, strings.Fields(want.args)) {
			t.Errorf("%s: %v %q", program, plugin, args)
		}
	}
}

// asPlugin runs one command line as kubectl does, without a hub.
func asPlugin(t *testing.T, args ...string) ran {
	t.Helper()
	f := factory.New("v0.0.0-test", func(string) string { return "" })
	streams, _, out, errOut := iostreams.Test()
	f.IO = streams
	bePlugin(f)
	code := Run(t.Context(), f, append([]string{"--kubeconfig", "/nonexistent"}, args...))
	return ran{code, out.String(), errOut.String()}
}

func TestPluginNamesItselfAsItIsTyped(t *testing.T) {
	help := asPlugin(t, "cluster", "join", "--help")
	help.want(t, factory.ExitOK)
	for _, want := range []string{"kubectl skerry cluster join NAME [flags]", "  kubectl skerry cluster join shop-1 --from-kubeconfig"} {
		if !strings.Contains(help.out, want) {
			t.Errorf("help lacks %q:\n%s", want, help.out)
		}
	}
	for line := range strings.Lines(help.out) {
		if at := strings.Index(line, "skerry "); at > 0 && !strings.Contains(line, "kubectl skerry ") {
			t.Errorf("the help names the command otherwise: %s", line)
		}
	}
	asPlugin(t, "clustr").want(t, factory.ExitUsage, `unknown command "clustr" for "kubectl skerry"`, "did you mean 'kubectl skerry cluster'?")
	asPlugin(t, "status", "--bogus").want(t, factory.ExitUsage, "see 'kubectl skerry status --help'")
}

func TestPluginCompletes(t *testing.T) {
	_, args := calledAs("kubectl_complete-skerry", []string{"clus"})
	r := asPlugin(t, args...)
	if !strings.HasPrefix(r.out, "cluster\t") || !strings.Contains(r.out, "\n:4\n") {
		t.Errorf("%q %q", r.out, r.errOut)
	}
}
