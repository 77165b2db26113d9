package git_test

import (
	"fmt"
	"testing"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// benchWorld has 400 files and 50 commits, followed once.
func benchWorld(b *testing.B) (*git.Store, *gitserver.Repo, git.Request) {
	b.Helper()
	h := gitserver.New(b)
	repo := must(h.Repo("config"))(b)
	must(repo.Commit("main", manyFiles(400)))(b)
	for i := range 49 {
		must(repo.Commit("main", write("apps/00/app-000.yaml", fmt.Sprint(i))))(b)
	}
	server := must(h.ServeHTTP(gitserver.HTTPOptions{}))(b)
	store := must(git.OpenStore(b.TempDir(), git.Options{}))(b)
	req := git.Request{Key: "bench", URL: server.URL(repo), Reference: git.Reference{Branch: "main"}}
	req.Known = must(store.Follow(b.Context(), req))(b).Revision
	b.ResetTimer()
	return store, repo, req
}

// BenchmarkFollowUnchanged is what each interval costs: one listing, most of it git http-backend.
func BenchmarkFollowUnchanged(b *testing.B) {
	store, _, req := benchWorld(b)
	for b.Loop() {
		must(store.Follow(b.Context(), req))(b)
	}
}

// BenchmarkPush is from a commit on the server to its tree in memory.
func BenchmarkPush(b *testing.B) {
	store, repo, req := benchWorld(b)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		must(repo.Commit("main", write("apps/03/app-060.yaml", fmt.Sprintf("pushed: %d\n", i))))(b)
		b.StartTimer()
		c := must(store.Follow(b.Context(), req))(b)
		if _, err := store.Tree(b.Context(), req.Key, c.Hash); err != nil || !c.Fetched {
			b.Fatalf("fetched %t, %v", c.Fetched, err)
		}
		req.Known = c.Revision
	}
}

// BenchmarkFirstFetch is a repository that the store has never seen.
func BenchmarkFirstFetch(b *testing.B) {
	store, _, req := benchWorld(b)
	for i := 0; b.Loop(); i++ {
		req.Key = fmt.Sprint(i)
		must(store.Follow(b.Context(), req))(b)
	}
}

// BenchmarkTreeCold reads 400 files from the disk, as after a restart.
func BenchmarkTreeCold(b *testing.B) {
	h := gitserver.New(b)
	repo := must(h.Repo("config"))(b)
	must(repo.Commit("main", manyFiles(400)))(b)
	server := must(h.ServeHTTP(gitserver.HTTPOptions{}))(b)
	dir := b.TempDir()
	store := must(git.OpenStore(dir, git.Options{}))(b)
	c := must(store.Follow(b.Context(), git.Request{Key: "bench", URL: server.URL(repo)}))(b)
	for b.Loop() {
		store := must(git.OpenStore(dir, git.Options{}))(b)
		if _, err := store.Tree(b.Context(), "bench", c.Hash); err != nil {
			b.Fatal(err)
		}
	}
}
