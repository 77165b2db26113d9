package diff_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/skerry-dev/skerry/internal/cli"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

const inputs = `apiVersion: skerry.dev/v1alpha1
kind: Kustomization
metadata: {name: app}
spec:
  sourceRef: {name: config}
  interval: 10m
  path: ./app
  clusters: {selector: {}}
  postBuild: {substituteStrategy: Always}
---
apiVersion: skerry.dev/v1alpha1
kind: Cluster
metadata: {name: north-1, labels: {region: north}}
spec: {kubeConfig: {secretRef: {name: x}}, vars: {region: north}}
---
apiVersion: skerry.dev/v1alpha1
kind: Cluster
metadata: {name: north-2, labels: {region: north}}
spec: {kubeConfig: {secretRef: {name: x}}, vars: {region: north}}
---
apiVersion: skerry.dev/v1alpha1
kind: Cluster
metadata: {name: south-1, labels: {region: south}}
spec: {kubeConfig: {secretRef: {name: x}}, vars: {region: south}}
`

const manifest = `apiVersion: v1
kind: ConfigMap
metadata: {name: one}
data: {region: "${region}", n: "%"}
`

// repository has two commits, a file that is not committed, and the inputs beside it.
func repository(t *testing.T) (dir, first string) {
	t.Helper()
	dir = t.TempDir()
	repo, err := git.PlainInit(filepath.Join(dir, "repo"), false)
	if err != nil {
		t.Fatal(err)
	}
	work, err := repo.Worktree()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	commit := func() string {
		t.Helper()
		if _, err := work.Add("."); err != nil {
			t.Fatal(err)
		}
		hash, err := work.Commit("change", &git.CommitOptions{Author: &object.Signature{Name: "a", Email: "a@b", When: time.Unix(1, 0)}})
		if err != nil {
			t.Fatal(err)
		}
		return hash.String()
	}
	write("inputs.yaml", inputs)
	write("repo/app/one.yaml", strings.ReplaceAll(manifest, "%", "1"))
	write("repo/app/gone.yaml", strings.ReplaceAll(manifest, "one", "gone"))
	first = commit()
	write("repo/app/one.yaml", strings.ReplaceAll(manifest, "%", "2"))
	if err := os.Remove(filepath.Join(dir, "repo/app/gone.yaml")); err != nil {
		t.Fatal(err)
	}
	commit()
	write("repo/app/one.yaml", strings.ReplaceAll(manifest, "%", "3"))
	return dir, first
}

func diff(t *testing.T, dir string, args ...string) (code int, out, errOut string) {
	t.Helper()
	f := factory.New("v0.0.0-test", func(string) string { return "" })
	streams, _, stdout, stderr := iostreams.Test()
	f.IO = streams
	f.Hub = func() (*factory.Hub, error) { t.Error("the hub was asked for"); return nil, os.ErrNotExist }
	code = cli.Run(t.Context(), f, append([]string{
		"diff", "ks", "--path", filepath.Join(dir, "repo"),
		"--kustomization-file", filepath.Join(dir, "inputs.yaml"),
	}, args...))
	return code, stdout.String(), stderr.String()
}

func TestDiffOfRevisionsAsksNoCluster(t *testing.T) {
	dir, first := repository(t)
	for name, tt := range map[string]struct {
		args []string
		code int
		out  string
		err  string
	}{
		"two commits": {
			[]string{"--revision", first + "..HEAD", "--all"}, 1,
			"~ ConfigMap/one  update on north-1, north-2, south-1\n    data.n\n      - \"1\"\n      + \"2\"\n- ConfigMap/gone  delete on north-1, north-2, south-1\n",
			"3 to update, 3 to delete on 3 clusters",
		},
		"a commit and the files": {
			[]string{"--revision", "HEAD..", "-l", "region=south"}, 1,
			"~ ConfigMap/one  update on south-1\n    data.n\n      - \"2\"\n      + \"3\"\n", "1 to update on 1 cluster",
		},
		"the same commit":          {[]string{"--revision", "HEAD..HEAD", "--all"}, 0, "", "no changes on 3 clusters"},
		"no such revision":         {[]string{"--revision", "nope..HEAD", "--all"}, 4, "", `there is no revision "nope"`},
		"one revision":             {[]string{"--revision", "HEAD", "--all"}, 2, "", "must be A..B"},
		"three dots":               {[]string{"--revision", "HEAD~1...HEAD", "--all"}, 2, "", "must be A..B"},
		"which cluster":            {[]string{"--revision", "HEAD..HEAD"}, 2, "", "choose one with --cluster, or --all\n"},
		"labels that nothing has":  {[]string{"--revision", "HEAD..HEAD", "-l", "region=west"}, 4, "", "none of the 3 clusters"},
		"files without a revision": {[]string{"--all", "--cluster-file", "x"}, 2, "", "--cluster-file with --revision only"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := diff(t, dir, tt.args...)
			if code != tt.code || out != tt.out || !strings.Contains(errOut, tt.err) {
				t.Errorf("code %d, want %d\n%s\nwant:\n%s\nstderr: %s", code, tt.code, out, tt.out, errOut)
			}
		})
	}
}
