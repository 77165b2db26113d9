package gitrepository

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/git"
)

func including(names ...string) func(*v1alpha1.GitRepository) {
	return func(r *v1alpha1.GitRepository) {
		for _, name := range names {
			r.Spec.Include = append(r.Spec.Include, v1alpha1.GitRepositoryInclude{GitRepositoryRef: meta.LocalObjectReference{Name: name}})
		}
	}
}

// fetched is a repository that has fetched a revision.
func fetched(name, revision string, change ...func(*v1alpha1.GitRepository)) *v1alpha1.GitRepository {
	r := repository(change...)
	r.Name = name
	if revision != "" {
		r.Status.Artifact = &v1alpha1.Artifact{Revision: revision, Digest: "digest of " + revision, LastUpdateTime: metav1.Unix(100, 0), Size: 7}
	}
	return r
}

func hash(digit string) string { return strings.Repeat(digit, 40) }

func TestIncludedRepositoriesAreNamedInTheArtifact(t *testing.T) {
	base := fetched("base", "main@sha1:"+hash("b")+"+third@cccccccccccc")
	repo := repository(including("base", "other"))
	repo.Spec.Include[0].FromPath, repo.Spec.Include[0].ToPath = "deploy", "lib/base"
	base.Spec.Ignore = new("/deploy/test\n")
	w := &world{t: t, objects: []client.Object{repo, base, fetched("other", "v1@sha1:"+hash("d"))}}
	w.start()
	w.follow = func(git.Request) (git.Commit, error) {
		return git.Commit{Revision: "main@sha1:" + hash("a"), Hash: hash("a"), Digest: "sha1:tree"}, nil
	}
	var asked []git.Part
	var failing error
	w.r.Include = func(_ context.Context, key string, c git.Commit, parts []git.Part) (string, bool, error) {
		if key != "fleet/config" || c.Hash != hash("a") {
			t.Errorf("put together %s at %s", key, c.Hash)
		}
		asked = parts
		return "sha256:whole", false, failing
	}
	w.reconcile()
	want := []git.Part{
		{Key: "fleet/base", Commit: hash("b"), Digest: "digest of " + base.Status.Artifact.Revision, From: "deploy", At: "lib/base", Ignore: "/deploy/test\n"},
		{Key: "fleet/other", Commit: hash("d"), Digest: "digest of v1@sha1:" + hash("d"), From: ".", At: "other"},
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("put together (-want +got):\n%s", diff)
	}
	status := w.get().Status
	revision := "main@sha1:" + hash("a") + "+base@bbbbbbbbbbbb+third@cccccccccccc+other@dddddddddddd"
	if status.Artifact.Revision != revision || status.Artifact.Digest != "sha256:whole" {
		t.Errorf("got %+v", status.Artifact)
	}
	included := []v1alpha1.Artifact{
		{Revision: "main@sha1:" + hash("b") + "+third@cccccccccccc", Digest: "digest of " + base.Status.Artifact.Revision, LastUpdateTime: metav1.Unix(100, 0), Size: 7},
		{Revision: "v1@sha1:" + hash("d"), Digest: "digest of v1@sha1:" + hash("d"), LastUpdateTime: metav1.Unix(100, 0), Size: 7},
	}
	if diff := cmp.Diff(included, status.IncludedArtifacts); diff != "" {
		t.Errorf("includedArtifacts (-want +got):\n%s", diff)
	}
	if got := v1alpha1.CommitOf(revision); got != hash("a") {
		t.Errorf("the commit of the revision is %s", got)
	}

	// What fails keeps the artifact.
	for want, err := range map[string]error{
		"False LayoutFailed: ":       git.ErrLayout,
		"False IncludeUnavailable: ": git.ErrNotStored,
	} {
		failing = err
		w.reconcile()
		if got := w.ready(); !strings.HasPrefix(got, want) || w.get().Status.Artifact.Revision != revision {
			t.Errorf("%s, artifact %+v", got, w.get().Status.Artifact)
		}
	}
}

func TestIncludesThatAreNotThereAreWaitedFor(t *testing.T) {
	for want, objects := range map[string][]client.Object{
		"False IncludeUnavailable: there is no GitRepository base to include":                                nil,
		"False IncludeUnavailable: the GitRepository base, which is to be included, has fetched nothing yet": {fetched("base", "")},
		"False IncludeCycle: spec.include leads in a circle: config → base → config":                         {fetched("base", "main@sha1:b", including("config"))},
		"False IncludeCycle: spec.include leads in a circle: config → base → third → config":                 {fetched("base", "", including("third")), fetched("third", "", including("base", "config"))},
	} {
		w := &world{t: t, objects: append(objects, repository(including("base")))}
		w.start()
		w.follow = func(git.Request) (git.Commit, error) { return commit("1"), nil }
		w.r.Include = func(context.Context, string, git.Commit, []git.Part) (string, bool, error) {
			return "", false, errors.New("not to be called")
		}
		w.reconcile()
		if got := w.ready(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestARepositoryThatIncludesACircleIsOnNone: it is those on it that are refused.
func TestARepositoryThatIncludesACircleIsOnNone(t *testing.T) {
	byName := map[string]*v1alpha1.GitRepository{"a": fetched("a", "", including("b")), "b": fetched("b", "", including("c")), "c": fetched("c", "", including("b"))}
	for name, want := range map[string][]string{"a": nil, "b": {"b", "c", "b"}, "c": {"c", "b", "c"}} {
		if diff := cmp.Diff(want, includeCycle(name, byName)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestARevisionStaysShort(t *testing.T) {
	suffix := ""
	for i := range 16 {
		suffix += includedRevision(fmt.Sprintf("repository-%d", i), "main@sha1:"+hash("e"))
	}
	got := shortened(suffix)
	if len(got) != len("+included@")+12 || shortened(suffix+"x") == got {
		t.Errorf("got %q", got)
	}
}

func TestWhatMattersOfAnIncludedRepository(t *testing.T) {
	w := &world{t: t}
	base := fetched("base", "main@sha1:b")
	for name, c := range map[string]struct {
		change func(*v1alpha1.GitRepository)
		want   bool
	}{
		"a new artifact":   {func(r *v1alpha1.GitRepository) { r.Status.Artifact.Revision = "main@sha1:c" }, true},
		"an include":       {including("x"), true},
		"other ignores":    {func(r *v1alpha1.GitRepository) { r.Spec.Ignore = new("*.txt") }, true},
		"a failure":        {func(r *v1alpha1.GitRepository) { r.Status.Conditions = []metav1.Condition{{Type: "Ready"}} }, false},
		"another interval": {func(r *v1alpha1.GitRepository) { r.Spec.Interval.Duration++ }, false},
	} {
		after := base.DeepCopy()
		c.change(after)
		if got := includedChanged().Update(event.UpdateEvent{ObjectOld: base, ObjectNew: after}); got != c.want {
			w.t.Errorf("%s: wakes %t", name, got)
		}
	}
	if diff := cmp.Diff([]string{"base", "other"}, includeNames(repository(including("other", "base", "other")))); diff != "" {
		t.Error(diff)
	}
}

// TestAPartThatIsFetchedAgainWakesThoseThatWaitForIt: the tree is the same, and there again.
func TestAPartThatIsFetchedAgainWakesThoseThatWaitForIt(t *testing.T) {
	w := &world{t: t, objects: []client.Object{repository(including("base")), fetched("base", "main@sha1:"+hash("b"))}}
	w.start()
	w.follow = func(git.Request) (git.Commit, error) { return git.Commit{Revision: "main@sha1:1", Digest: "x"}, nil }
	w.r.Include = func(context.Context, string, git.Commit, []git.Part) (string, bool, error) {
		return "sha256:whole", false, nil
	}
	w.reconcile()
	first := w.get().Status.Artifact
	w.reconcile()
	if again := w.get().Status.Artifact; !again.LastUpdateTime.Equal(&first.LastUpdateTime) {
		t.Error("a check that finds nothing new moves the time")
	}
	base := &v1alpha1.GitRepository{}
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: key.Namespace, Name: "base"}, base); err != nil {
		t.Fatal(err)
	}
	base.Status.Artifact.LastUpdateTime = metav1.Unix(5000, 0)
	if err := w.client.Status().Update(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if again := w.get().Status.Artifact; again.LastUpdateTime.Equal(&first.LastUpdateTime) {
		t.Error("those that wait are not woken")
	}
}
