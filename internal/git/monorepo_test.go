package git_test

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

var monorepo = flag.Bool("monorepo", false, "measure a repository of 200,000 files and 1 GiB (make bench-monorepo)")

const (
	monorepoFiles = 200_000
	monorepoFile  = 5 << 10 // bytes of each
	renderedFiles = 100
)

// BenchmarkMonorepo is a repository of which little is rendered. It tells the time and the peak of the
// process's memory of the first fetch, of the commit of one file, and of the first check after a restart. The
// Git server is processes of its own.
func BenchmarkMonorepo(b *testing.B) {
	if !*monorepo {
		b.Skip("takes minutes: make bench-monorepo")
	}
	debug.SetMemoryLimit(512 << 20) // as the hub's Deployment has with GOMEMLIMIT
	h := gitserver.New(b)
	repo := must(h.Repo("monorepo"))(b)
	importMonorepo(b, repo)
	server := must(h.ServeHTTP(gitserver.HTTPOptions{}))(b)
	dir := b.TempDir()
	options := git.Options{Limits: git.Limits{Cache: 24 << 20}} // as the hub has it
	store := must(git.OpenStore(dir, options))(b)
	req := git.Request{Key: "bench", URL: server.URL(repo), Reference: git.Reference{Branch: "main"}, Timeout: time.Hour}

	measure := func(what string, f func()) time.Duration {
		debug.FreeOSMemory()
		_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // forgets the peak
		before := resident(b, "VmRSS")
		start := time.Now()
		f()
		took := time.Since(start)
		b.Logf("%s: %s, peak %d MiB (%d MiB before)", what, took.Round(time.Millisecond), resident(b, "VmHWM"), before)
		return took
	}
	render := func(c git.Commit) {
		t := must(store.Tree(b.Context(), req.Key, c.TreeName()))(b)
		for i := range renderedFiles {
			must(t.ReadFile(monorepoPath(i)))(b)
		}
	}
	measure("first fetch", func() {
		c := must(store.Follow(b.Context(), req))(b)
		req.Known = c.Revision
		render(c)
	})
	measure("a check of an unchanged branch", func() { must(store.Follow(b.Context(), req))(b) })
	var total time.Duration
	n := 0
	for b.Loop() {
		must(repo.Commit("main", write(monorepoPath(n%renderedFiles), fmt.Sprint("changed ", n))))(b)
		n++
		total += measure("a commit of one file", func() {
			c := must(store.Follow(b.Context(), req))(b)
			req.Known = c.Revision
			render(c)
		})
	}
	b.ReportMetric(float64(total.Milliseconds())/float64(n), "ms/commit")
	store = must(git.OpenStore(dir, options))(b)
	measure("first check after a restart", func() { render(must(store.Follow(b.Context(), req))(b)) })
}

func monorepoPath(i int) string {
	return fmt.Sprintf("team-%02d/app-%03d/file-%02d.yaml", i/10_000, i/20%500, i%20)
}

// importMonorepo makes the repository in one commit, of text that packs to about three quarters.
func importMonorepo(b *testing.B, repo *gitserver.Repo) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "git", "-c", "pack.depth=0", "-c", "core.compression=1", "fast-import", "--quiet", "--depth=0")
	cmd.Dir, cmd.Env = repo.Dir(), gitserver.Env()
	in := must(cmd.StdinPipe())(b)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriterSize(in, 1<<20)
	rng := rand.New(rand.NewPCG(1, 2)) // the same data each time
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 \n"
	fmt.Fprintf(w, "commit refs/heads/main\ncommitter Skerry <skerry@example.com> 1700000000 +0000\ndata 5\nfirst\n")
	content := make([]byte, monorepoFile)
	for i := range monorepoFiles {
		for at := 0; at < len(content); {
			for r, k := rng.Uint64(), 0; k < 10 && at < len(content); r, k, at = r>>6, k+1, at+1 {
				content[at] = letters[r&63]
			}
		}
		fmt.Fprintf(w, "M 100644 inline %s\ndata %d\n%s\n", monorepoPath(i), len(content), content)
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
}

// resident is a figure of the process's memory in MiB.
func resident(b *testing.B, name string) int {
	b.Helper()
	raw := must(os.ReadFile("/proc/self/status"))(b)
	_, rest, _ := strings.Cut(string(raw), name+":")
	fields := strings.Fields(rest)
	return must(strconv.Atoi(fields[0]))(b) >> 10
}
