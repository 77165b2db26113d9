package uninstall

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/text"
)

// seen is what is there to be uninstalled.
type seen struct {
	host string
	// kustomizations, clusters and sources as "namespace/name", sorted.
	kustomizations, clusters, sources []string
	// silent are the clusters that do not answer.
	silent []string
	// objects were applied on all clusters.
	objects int
	// url and path are where the hub keeps itself from; empty when it does not.
	url, path string
	// components are the hub's own objects, and kinds its definitions.
	components, kinds int
	// namespace means that the hub's namespace is there, and secrets counts what goes with it; it is
	// unknownSecrets where that may not be listed.
	namespace bool
	secrets   int
}

const unknownSecrets = -1

func (s *seen) nothing() bool {
	return len(s.kustomizations)+len(s.clusters)+len(s.sources)+s.components+s.kinds == 0 && !s.namespace
}

// announce returns what is about to happen, in the order in which it does.
func announce(s *seen, policy string, keepNamespace bool) []string {
	if s.nothing() {
		return []string{"there is no hub on " + s.host}
	}
	lines := []string{"uninstall the hub from " + s.host + ":"}
	add := func(format string, args ...any) { lines = append(lines, "  "+fmt.Sprintf(format, args...)) }
	if n := len(s.kustomizations); n > 0 {
		consequence := map[string]string{
			policyOrphan:  "stays and belongs to nobody",
			policyDelete:  "IS DELETED on every cluster",
			policyAbandon: "stays, with the hub's labels",
		}[policy]
		add("%s: what was applied %s: %s", text.Count(n, "kustomization"), consequence, text.Count(s.objects, "object"))
	}
	if n := len(s.clusters); n > 0 {
		consequence := "the hub's inventories, claims and accounts are taken off them"
		if policy == policyAbandon && s.components > 0 {
			add("the hub is stopped first, so that nothing is sent to any cluster")
		}
		if policy == policyAbandon {
			consequence = "nothing is sent to them; the hub's inventories, claims and accounts stay there"
		}
		add("%s: %s", text.Count(n, "cluster"), consequence)
	}
	if n := len(s.silent); n > 0 && policy != policyAbandon {
		add("  %s does not answer: what is there stays; it is waited for for five minutes", some(s.silent))
	}
	if n := len(s.sources); n > 0 {
		add("%s", text.Count(n, "source"))
	}
	if s.components > 0 {
		add("the hub itself: %s", text.Count(s.components, "object"))
	}
	if s.kinds > 0 {
		add("%s of %s", text.Count(s.kinds, "kind"), v1alpha1.Group)
	}
	switch {
	case s.namespace && keepNamespace:
		add("the namespace %s stays", v1alpha1.SystemNamespace)
	case s.namespace && s.secrets == unknownSecrets:
		add("the namespace %s with all that is in it; how many Secrets are among it is unknown, as they may not be listed", v1alpha1.SystemNamespace)
	case s.namespace:
		add("the namespace %s with all that is in it, %s among it", v1alpha1.SystemNamespace, text.Count(s.secrets, "Secret"))
	}
	if s.url != "" {
		lines = append(lines, fmt.Sprintf("Git is not changed: 'skerry bootstrap git' from %s, path %s, takes it all up again", s.url, s.path))
	}
	return lines
}

func some(names []string) string {
	names = slices.Sorted(slices.Values(names))
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), len(names)-5)
	}
	return strings.Join(names, ", ")
}
