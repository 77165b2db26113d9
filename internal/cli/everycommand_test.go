package cli

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// lines has a command line for each command: of a hub that has nothing, it asks for something that is missing, or
// makes something that waits for nothing. Files are those of inputs.
var lines = strings.Split(strings.TrimSpace(`
bootstrap git --url https://127.0.0.1:1/x.git --token-env TOKEN
bootstrap github --owner team --repository fleet --hostname https://127.0.0.1:1 --token-env TOKEN
bootstrap gitlab --owner team --repository fleet --hostname https://127.0.0.1:1 --token-env TOKEN
bootstrap gitea --owner team --repository fleet --hostname https://127.0.0.1:1 --token-env TOKEN
bootstrap bitbucket-server --owner team --repository fleet --hostname https://127.0.0.1:1 --token-env TOKEN
build kustomization missing --all-clusters
bundle export missing -o out.skerry
bundle import-report junk
check
cluster approve missing
cluster join x --agent
cluster label missing tier=shop
cluster list
cluster remove missing --yes
cluster rotate missing
cluster vars missing region=north
completion bash
completion fish
completion powershell
completion zsh
config set namespace skerry-system
config unset namespace
config view
create cluster x --agent
create kustomization x --source missing --path ./app --wait=false
create receiver x --type generic --secret-ref missing --resource GitRepository/missing --wait=false
create secret age a
create secret git g --url https://git.example.com/x.git --username robot --password-stdin
create secret githubapp h --app-id 1 --app-installation-id 2 --app-private-key key.pem
create secret receiver r
create secret tls t --ca-crt-file ca.crt
create source git x --url https://git.example.com/x.git --branch main --wait=false
debug kustomization missing --show-vars --cluster missing
delete cluster missing --yes
delete kustomization missing --yes
delete source missing --yes
diff kustomization missing --all
drift
envsubst
events
export all
export cluster missing
export kustomization missing
export source missing
get all
get assignments missing
get clusters missing
get kustomizations missing
get receivers missing
get sources missing
history missing
install --crds-only
logs
migrate --path repo
migrate cluster --dry-run
receiver url missing
reconcile cluster missing
reconcile kustomization missing
reconcile source missing
resume cluster missing
resume kustomization missing
resume source missing
rollout history missing
rollout pause missing
rollout promote missing
rollout resume missing
rollout simulate missing
rollout status missing
rollout undo missing --yes
stats
status
suspend cluster missing
suspend kustomization missing
suspend source missing
trace cm/x -n default --cluster missing
tree missing
uninstall --dry-run
vendor --path repo
version
why missing
`), "\n")

// offline are the commands that ask no hub.
var offline = regexp.MustCompile(`^(completion|config|envsubst|migrate --path|vendor)\b`)

// inputs makes a folder with the files that lines name the working directory.
func inputs(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<32, 0)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"key.pem":                     pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		"ca.crt":                      pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		"junk":                        []byte("junk\n"),
		"repo/app/kustomization.yaml": []byte("resources: []\n"),
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// runLine runs one of lines, with more arguments.
func runLine(t *testing.T, kubeconfig, line string, more ...string) ran {
	t.Helper()
	env := map[string]string{"TOKEN": "t0ken", "SKERRY_CONFIG": filepath.Join(t.TempDir(), "config.yaml")}
	return runWith(t.Context(), kubeconfig, "hunter2\n", env, append(strings.Fields(line), more...)...)
}

// namesTheNextStep fails a command that ended without a word, with a code of its own, or with an error that does not
// say what to do.
func (r ran) namesTheNextStep(t *testing.T, line string) {
	t.Helper()
	known := false
	for _, c := range factory.ExitCodes {
		known = known || c.Code == r.code
	}
	switch {
	case !known:
		t.Errorf("%s: exit code %d is not in the table", line, r.code)
	case r.out+r.errOut == "":
		t.Errorf("%s: ended with %d, and said nothing", line, r.code)
	case strings.Contains(r.errOut, "error:") && !strings.Contains(r.errOut, "next:"):
		t.Errorf("%s: ended with %d, and did not say what to do:\n%s", line, r.code, r.errOut)
	case strings.Contains(r.out+r.errOut, "panic"):
		t.Errorf("%s: %s", line, r.errOut)
	}
}

// everyCommand returns the root, with what cobra adds when it runs, and the commands that do something, groups and
// help topics left out.
func everyCommand() (*cobra.Command, []*cobra.Command) {
	root := Root(factory.New("", func(string) string { return "" }))
	root.InitDefaultCompletionCmd()
	var all []*cobra.Command
	eachCommand(root, func(cmd *cobra.Command) {
		if !cmd.Hidden && cmd.Runnable() && (!cmd.HasSubCommands() || cmd.CommandPath() == "skerry migrate") {
			all = append(all, cmd)
		}
	})
	return root, all
}

// covers fails for each command that none of the command lines, without the name of the program, runs.
func covers(t *testing.T, what string, commandLines [][]string) {
	t.Helper()
	root, all := everyCommand()
	seen := map[string]bool{}
	for _, args := range commandLines {
		if cmd, _, err := root.Find(args); err == nil {
			seen[cmd.CommandPath()] = true
		}
	}
	for _, cmd := range all {
		if !seen[cmd.CommandPath()] {
			t.Errorf("%s is in no %s", cmd.CommandPath(), what)
		}
	}
}

func TestEveryCommandHasALine(t *testing.T) {
	var all [][]string
	for _, line := range lines {
		all = append(all, strings.Fields(line))
	}
	covers(t, "line of this test", all)
}

// TestEveryCommandHasACounterpart: docs/counterparts.md has each command in the column of skerry, and no other.
func TestEveryCommandHasACounterpart(t *testing.T) {
	data, err := os.ReadFile("../../docs/counterparts.md")
	if err != nil {
		t.Fatal(err)
	}
	root, all := everyCommand()
	named := map[string]bool{}
	for line := range strings.SplitSeq(string(data), "\n") {
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), "|")
		if len(cells) != 8 || strings.TrimSpace(cells[2]) == "skerry" || strings.HasPrefix(cells[2], "---") {
			continue
		}
		for i, cell := range cells[1:7] {
			if strings.TrimSpace(cell) == "" {
				t.Errorf("column %d is empty in %s", i+1, line)
			}
		}
		for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[2], -1) {
			if strings.HasPrefix(quoted[1], "-") {
				continue // a flag of the command before it
			}
			for _, args := range alternatives(quoted[1]) {
				cmd, rest, err := root.Find(args)
				if err != nil || cmd == root || cmd.HasSubCommands() && len(rest) > 0 {
					t.Errorf("there is no command %q", quoted[1])
					continue
				}
				named[cmd.CommandPath()] = true
			}
		}
	}
	for _, cmd := range all {
		// A group stands for what is in it.
		if !slices.ContainsFunc(parents(cmd), func(path string) bool { return named[path] }) {
			t.Errorf("%s has no row", cmd.CommandPath())
		}
	}
}

// alternatives of "bootstrap git\|github" are "bootstrap git" and "bootstrap github".
func alternatives(text string) [][]string {
	all := [][]string{nil}
	for word := range strings.FieldsSeq(text) {
		var next [][]string
		for is := range strings.SplitSeq(word, "\x00") {
			for _, before := range all {
				next = append(next, append(slices.Clone(before), is))
			}
		}
		all = next
	}
	return all
}

// parents are the paths of a command and of those above it, the root left out.
func parents(cmd *cobra.Command) []string {
	var paths []string
	for ; cmd.HasParent(); cmd = cmd.Parent() {
		paths = append(paths, cmd.CommandPath())
	}
	return paths
}

// unanswered writes a kubeconfig for a server that is none, with a token.
func unanswered(t *testing.T, server string) string {
	t.Helper()
	return writeFile(t, "kubeconfig", fmt.Appendf(nil, `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: %q}}], users: [{name: u, user: {token: t}}]}`, server))
}

// TestEveryCommandNamesTheNextStepWithoutAHub that answers: none is configured, none listens, or what does is no API
// server, or does not accept the credentials.
func TestEveryCommandNamesTheNextStepWithoutAHub(t *testing.T) {
	inputs(t)
	answer := func(code int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	for name, tt := range map[string]struct {
		kubeconfig string
		code       int
	}{
		"no kubeconfig":    {"/nonexistent", factory.ExitFailed},
		"nothing listens":  {unanswered(t, "http://127.0.0.1:1"), factory.ExitUnreachable},
		"other token":      {unanswered(t, answer(http.StatusUnauthorized, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","code":401}`)), factory.ExitUnreachable},
		"no API server":    {unanswered(t, answer(http.StatusNotFound, `<html>not found</html>`)), -1},
		"a broken gateway": {unanswered(t, answer(http.StatusBadGateway, `<html>bad gateway</html>`)), -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // what it waits for, a stream that ends or a second try, is in few of the commands
			for _, line := range lines {
				r := runLine(t, tt.kubeconfig, line, "--timeout", "20s")
				r.namesTheNextStep(t, line)
				asked := !offline.MatchString(line) && line != "bundle import-report junk"
				if strings.HasPrefix(line, "diff") && r.code == factory.ExitDiffFailed {
					continue // what diff could not tell has a code of its own
				}
				if asked && tt.code >= 0 && r.code != tt.code {
					t.Errorf("%s: exit code %d, want %d:\n%s", line, r.code, tt.code, r.errOut)
				}
				if asked && r.code == factory.ExitOK && !strings.Contains(line, "version") {
					t.Errorf("%s: went well:\n%s", line, r.out)
				}
			}
		})
	}
}

// TestErrorsAreJSONWhereResultsAre, on standard error alone.
func TestErrorsAreJSONWhereResultsAre(t *testing.T) {
	inputs(t)
	root, _ := everyCommand()
	tried := 0
	for _, line := range lines {
		cmd, _, err := root.Find(strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		if o := cmd.Flags().Lookup("output"); o == nil || o.Shorthand != "o" || strings.HasPrefix(line, "bundle") || offline.MatchString(line) {
			continue
		}
		tried++
		r := runLine(t, unanswered(t, "http://127.0.0.1:1"), line, "-o", "json", "--timeout", "10s")
		var answer struct {
			Error struct {
				Code          int
				Message, Next string
			}
		}
		_, body, found := strings.Cut("\n"+r.errOut, "\n{")
		if err := json.Unmarshal([]byte("{"+body), &answer); !found || err != nil || answer.Error.Code != factory.ExitUnreachable || answer.Error.Message == "" || answer.Error.Next == "" || r.out != "" && !json.Valid([]byte(r.out)) {
			t.Errorf("%s: %v, %+v\nstdout: %s\nstderr: %s", line, err, answer, r.out, r.errOut)
		}
	}
	if tried < 15 {
		t.Errorf("only %d commands have -o json", tried)
	}
}

// TestArgumentsThatAreTooManyAreRefused by every command, before anything is done.
func TestArgumentsThatAreTooManyAreRefused(t *testing.T) {
	inputs(t)
	asked := 0
	for _, line := range lines {
		streams, _, _, errOut := iostreams.Test()
		f := factory.New("v0.0.0-test", func(string) string { return "" })
		f.IO, f.Hub = streams, func() (*factory.Hub, error) { asked++; return nil, fmt.Errorf("asked") }
		for _, more := range [][]string{{"extra", "arguments", "here"}, {"--no-such-flag"}} {
			before := asked
			if takesMany.MatchString(line) && more[0] == "extra" {
				continue
			}
			if code := Run(t.Context(), f, append(strings.Fields(line), more...)); code != factory.ExitUsage || asked > before || !strings.Contains(errOut.String(), "next: ") {
				t.Errorf("%s %s: exit code %d, hub asked %d times: %s", line, strings.Join(more, " "), code, asked-before, errOut)
			}
			errOut.Reset()
		}
	}
}

// takesMany are the commands that take as many names as one likes.
var takesMany = regexp.MustCompile(`^(get|suspend|resume|cluster (label|vars)|export|delete) `)
