package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// TestEveryCommandIsInAScript: a script runs the built binary against real API servers.
func TestEveryCommandIsInAScript(t *testing.T) {
	scripts, err := filepath.Glob("../../e2e/testdata/*/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	// What stands before the arguments: "skerry -code 1 status", "! exec skerry check", "everywhere -uncut get all".
	call := regexp.MustCompile(`(?m)^(?:! )?(?:exec skerry|(?:skerry|everywhere|interrupt|closedpipe)(?: -(?:(?:code|stdin) \S+|uncut|at (?:'[^']*'|\S+)))*) +(.*)$`)
	var all [][]string
	for _, script := range scripts {
		data, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		text, _, _ := bytes.Cut(data, []byte("\n-- "))
		for _, m := range call.FindAllSubmatch(text, -1) {
			all = append(all, strings.Fields(string(m[1])))
		}
	}
	covers(t, "script of e2e/testdata", all)
}

// TestEveryCommandNamesTheNextStepOfAHub that has nothing, or lacks the kinds or one of them, or does not let the user.
func TestEveryCommandNamesTheNextStepOfAHub(t *testing.T) {
	c := controlplane.New(t, "newcomer", controlplane.Options{})
	inputs(t)
	nobody, err := c.User("nobody")
	if err != nil {
		t.Fatal(err)
	}
	data, err := controlplane.EncodeKubeconfig(nobody)
	if err != nil {
		t.Fatal(err)
	}
	forbidden := writeFile(t, "forbidden", data)
	every := func(kubeconfig, without string, more ...string) map[string]ran {
		all := map[string]ran{}
		for _, line := range lines {
			if without != "" && strings.HasPrefix(line, without) {
				continue
			}
			all[line] = runLine(t, kubeconfig, line, append([]string{"--timeout", "20s"}, more...)...)
			all[line].namesTheNextStep(t, line)
		}
		return all
	}
	for line, r := range every(c.Kubeconfig(), "install") {
		if strings.Contains(line, "missing") && r.code == factory.ExitOK && !strings.HasPrefix(line, "create") {
			t.Errorf("%s, without the kinds: %s", line, r.errOut)
		}
	}
	run(t, c.Kubeconfig(), "", "install", "--crds-only").want(t, factory.ExitOK)
	for line, r := range every(c.Kubeconfig(), "") {
		if strings.Contains(line, "missing") && !strings.HasPrefix(line, "create") && (r.code != factory.ExitFailed && r.code != factory.ExitDiffFailed || !strings.Contains(r.errOut, "missing")) {
			t.Errorf("%s, of what is not there: exit code %d:\n%s", line, r.code, r.errOut)
		}
	}
	every(c.Kubeconfig(), "", "-n", "nowhere")
	for line, r := range every(forbidden, "") {
		if r.code == factory.ExitUnreachable {
			t.Errorf("%s, forbidden: exit code %d:\n%s", line, r.code, r.errOut)
		}
	}
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "receivers.skerry.dev"}}
	if err := clientOf(t, c).Delete(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the kind is gone", func() (bool, error) {
		err := clientOf(t, c).Get(t.Context(), client.ObjectKeyFromObject(crd), crd)
		return apierrors.IsNotFound(err), err
	})
	every(c.Kubeconfig(), "install")
}
