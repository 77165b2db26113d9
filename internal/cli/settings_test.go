package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// TestSettingsNameTheHubWhereNoFlagDoes: the order is flag, environment, settings.
func TestSettingsNameTheHubWhereNoFlagDoes(t *testing.T) {
	home := t.TempDir()
	env := map[string]string{"HOME": home}
	skerry := func(args ...string) (*factory.Factory, ran) {
		t.Helper()
		f := factory.New("v0.0.0-test", func(name string) string { return env[name] })
		streams, _, out, errOut := iostreams.Test()
		f.IO = streams
		code := Run(t.Context(), f, args)
		return f, ran{code, out.String(), errOut.String()}
	}
	for _, args := range [][]string{{"config", "set", "context", "hub"}, {"config", "set", "namespace", "team-a"}} {
		_, r := skerry(args...)
		r.want(t, factory.ExitOK)
	}
	if _, r := skerry("config", "view"); r.out != "context: hub\nnamespace: team-a\n" {
		t.Errorf("view: %s%s", r.out, r.errOut)
	}
	for name, tt := range map[string]struct {
		args               []string
		env                string
		context, namespace string
	}{
		"settings":    {nil, "", "hub", "team-a"},
		"environment": {nil, "team-b", "hub", "team-b"},
		"flags":       {[]string{"--context", "other", "-n", "team-c"}, "team-b", "other", "team-c"},
		"kubeconfig":  {[]string{"--kubeconfig", "/elsewhere"}, "", "", "team-a"},
	} {
		env["SKERRY_NAMESPACE"] = tt.env
		f, r := skerry(append(tt.args, "config", "view")...)
		r.want(t, factory.ExitOK)
		if got := *f.Connection().Context; got != tt.context || f.Flags.Namespace != tt.namespace {
			t.Errorf("%s: context %q, namespace %q", name, got, f.Flags.Namespace)
		}
	}
	_, r := skerry("config", "unset", "context")
	r.want(t, factory.ExitOK)
	_, r = skerry("config", "set", "namespace", "Team A")
	r.want(t, factory.ExitUsage, "cannot be a namespace")
	_, r = skerry("config", "set", "colour", "red")
	r.want(t, factory.ExitUsage, `there is no key "colour", but context and namespace`)
	file := filepath.Join(home, ".config", "skerry", "config.yaml")
	if data, err := os.ReadFile(file); err != nil || string(data) != "namespace: team-a\n" {
		t.Errorf("%s, %v", data, err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".config-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	if err := os.WriteFile(file, []byte("namespaces: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, r = skerry("config", "view")
	r.want(t, factory.ExitFailed, "cannot read the settings", "next: correct or delete the file")

	env = map[string]string{}
	_, r = skerry("config", "set", "context", "hub")
	r.want(t, factory.ExitFailed, "name a file with SKERRY_CONFIG")
	if strings.Contains(r.errOut, home) || context.Cause(t.Context()) != nil {
		t.Error("another home was used")
	}
}
