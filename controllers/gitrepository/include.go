package gitrepository

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/report"
)

// includeIndex finds the GitRepositories that include one.
const includeIndex = "gitrepository.include"

func includeNames(o client.Object) []string {
	var names []string
	for _, in := range o.(*v1alpha1.GitRepository).Spec.Include {
		names = append(names, in.GitRepositoryRef.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// includedChanged passes what matters of a repository to those that include it: its artifact, what it leaves
// out of it, and what it includes itself, which may close or open a circle.
func includedChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := e.ObjectOld.(*v1alpha1.GitRepository), e.ObjectNew.(*v1alpha1.GitRepository)
			return !equality.Semantic.DeepEqual(before.Status.Artifact, after.Status.Artifact) ||
				ptr.Deref(before.Spec.Ignore, "") != ptr.Deref(after.Spec.Ignore, "") ||
				!slices.Equal(includeNames(before), includeNames(after))
		},
	}
}

// requestsForIncluded wakes those that include a repository.
func (r *Reconciler) requestsForIncluded(ctx context.Context, source client.Object) []reconcile.Request {
	list := &v1alpha1.GitRepositoryList{}
	if err := r.Hub.List(ctx, list, client.InNamespace(source.GetNamespace()), client.MatchingFields{includeIndex: source.GetName()}); err != nil {
		log.FromContext(ctx).Error(err, "cannot find the GitRepositories that include one", "included", source.GetName())
		return nil
	}
	return hubapi.RequestsFor[v1alpha1.GitRepository](list.Items)
}

// include puts a commit together with what the repository includes, and returns the artifacts of that. The
// commit's revision and digest become those of the whole.
func (r *Reconciler) include(ctx context.Context, repo *v1alpha1.GitRepository, commit *git.Commit) ([]v1alpha1.Artifact, error) {
	if len(repo.Spec.Include) == 0 {
		return nil, nil
	}
	list := &v1alpha1.GitRepositoryList{}
	if err := r.Hub.List(ctx, list, client.InNamespace(repo.Namespace)); err != nil {
		return nil, fmt.Errorf("cannot list GitRepositories: %w", err)
	}
	byName := map[string]*v1alpha1.GitRepository{}
	for i := range list.Items {
		byName[list.Items[i].Name] = &list.Items[i]
	}
	byName[repo.Name] = repo
	if circle := includeCycle(repo.Name, byName); circle != nil {
		return nil, &report.Stalled{Reason: v1alpha1.IncludeCycleReason, Err: fmt.Errorf("spec.include leads in a circle: %s", strings.Join(circle, " → "))}
	}
	var parts []git.Part
	var included []v1alpha1.Artifact
	var suffix strings.Builder
	for _, in := range repo.Spec.Include {
		name := in.GitRepositoryRef.Name
		source := byName[name]
		switch {
		case source == nil || !source.DeletionTimestamp.IsZero():
			return nil, unavailable("there is no GitRepository %s to include", name)
		case source.Status.Artifact == nil:
			return nil, unavailable("the GitRepository %s, which is to be included, has fetched nothing yet", name)
		}
		a := source.Status.Artifact
		key := types.NamespacedName{Namespace: source.Namespace, Name: name}
		parts = append(parts, git.Part{Key: Key(key), Commit: v1alpha1.CommitOf(a.Revision), Digest: a.Digest, From: in.GetFromPath(), At: in.GetToPath(), Ignore: ptr.Deref(source.Spec.Ignore, "")})
		included = append(included, *a)
		suffix.WriteString(includedRevision(name, a.Revision))
	}
	digest, fresh, err := r.Include(ctx, keyOf(repo), *commit, parts)
	switch {
	case errors.Is(err, git.ErrNotStored):
		return nil, unavailable("what is to be included is being fetched again")
	case err != nil:
		return nil, explain(err)
	}
	// A part that was fetched again, and one that is put together again, wake those that wait for them.
	commit.Digest, commit.Fetched = digest, commit.Fetched || fresh || !equality.Semantic.DeepEqual(repo.Status.IncludedArtifacts, included)
	commit.Revision += shortened(suffix.String())
	return included, nil
}

func keyOf(repo *v1alpha1.GitRepository) string {
	return Key(types.NamespacedName{Namespace: repo.Namespace, Name: repo.Name})
}

func unavailable(format string, args ...any) error {
	return &report.Waiting{Reason: v1alpha1.IncludeUnavailableReason, Err: fmt.Errorf(format, args...)}
}

// includedRevision is what an included repository adds to a revision: its name and the beginning of its
// commit, and what it includes itself.
func includedRevision(name, revision string) string {
	commit := v1alpha1.CommitOf(revision)
	_, own, _ := strings.Cut(revision, commit)
	return "+" + name + "@" + commit[:min(12, len(commit))] + own
}

// maxSuffix bounds what included repositories add to a revision, which is kept once for each cluster.
const maxSuffix = 160

// shortened names what is too long by its digest.
func shortened(suffix string) string {
	if len(suffix) <= maxSuffix {
		return suffix
	}
	return fmt.Sprintf("+included@%x", sha256.Sum256([]byte(suffix)))[:len("+included@")+12]
}

// includeCycle returns the names on a circle of includes that a repository is on, itself first and last; nil
// if it is on none.
func includeCycle(name string, byName map[string]*v1alpha1.GitRepository) []string {
	seen := map[string]bool{}
	var walk func(at string, way []string) []string
	walk = func(at string, way []string) []string {
		source := byName[at]
		if source == nil {
			return nil
		}
		for _, next := range includeNames(source) {
			if next == name {
				return append(way, name)
			}
			if !seen[next] {
				seen[next] = true
				if circle := walk(next, append(slices.Clip(way), next)); circle != nil {
					return circle
				}
			}
		}
		return nil
	}
	return walk(name, []string{name})
}
