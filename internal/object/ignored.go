package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ignoredKeys are annotations by which other tools order, run or keep objects, and which are applied here
// like any other. Of Argo CD's, Prune=false and Delete=false of sync-options are read: see PruneDisabled.
var ignoredKeys = []string{
	"argocd.argoproj.io/hook",
	"helm.sh/hook",
	"helm.sh/resource-policy",
}

// Prefixes of annotations whose names and values are all known: what else begins so was misspelt, or is of a
// later version.
const (
	ourPrefix  = "skerry.dev/"
	fluxPrefix = "kustomize.toolkit.fluxcd.io/"
)

// switches are annotations, under both prefixes, that are enabled or disabled.
var switches = []string{"prune", "force", "reconcile", "substitute", "decrypt"}

// otherNames are annotations under the prefixes that are no switches: those that have values of their own, which
// are verified elsewhere, and those that Skerry or Flux writes by itself.
var otherNames = []string{
	ourPrefix + "ssa", fluxPrefix + "ssa", WaveKey, ManifestNameKey,
	fluxPrefix + "name", fluxPrefix + "namespace", fluxPrefix + "checksum",
}

// IgnoredAnnotations names the annotations that the objects have and that have no effect, each with the first
// object that has it and the number of the others; "" when there are none: those of other tools (a manifest
// that was written for such a tool may mean something else by them: a hook runs once, here it is kept), and those
// of Skerry and Flux whose name or value is unknown.
func IgnoredAnnotations(objects []Object) string {
	found := map[string]*ignoredUse{}
	for i := range objects {
		for _, word := range objects[i].ignored() {
			if found[word] == nil {
				found[word] = &ignoredUse{first: objects[i].ID}
			}
			found[word].n++
		}
	}
	words := make([]string, 0, len(found))
	for _, word := range slices.Sorted(maps.Keys(found)) {
		if use := found[word]; use.n > 1 {
			words = append(words, fmt.Sprintf("%s (%s and %d more)", word, use.first, use.n-1))
		} else {
			words = append(words, fmt.Sprintf("%s (%s)", word, use.first))
		}
	}
	return strings.Join(words, ", ")
}

// ignoredUse is where an annotation that has no effect occurs.
type ignoredUse struct {
	first ID
	n     int
}

// ignored returns the annotations of the object that have no effect. Most objects hold no key anywhere, and are
// not decoded.
func (o Object) ignored() []string {
	// Each object has the owner label of that prefix.
	if bytes.Count(o.Body, []byte(`"`+ourPrefix)) < 2 && !bytes.Contains(o.Body, []byte(`"`+fluxPrefix)) &&
		!slices.ContainsFunc(ignoredKeys, func(key string) bool { return bytes.Contains(o.Body, []byte(`"`+key+`"`)) }) {
		return nil
	}
	var top struct {
		Metadata struct {
			Annotations map[string]any `json:"annotations"`
		} `json:"metadata"`
	}
	if json.Unmarshal(o.Body, &top) != nil {
		return nil
	}
	var words []string
	for key, value := range top.Metadata.Annotations {
		if word := o.ignoredWord(key, value); word != "" {
			words = append(words, word)
		}
	}
	return words
}

// ignoredWord says of an annotation that it has no effect; "" when it has one, or is of no concern.
func (o Object) ignoredWord(key string, value any) string {
	name, ours := strings.CutPrefix(key, ourPrefix)
	if !ours {
		var flux bool
		if name, flux = strings.CutPrefix(key, fluxPrefix); !flux {
			if slices.Contains(ignoredKeys, key) {
				return key
			}
			return ""
		}
	}
	text, _ := value.(string)
	switch {
	case slices.Contains(switches, name):
		if strings.EqualFold(text, "enabled") || strings.EqualFold(text, disabled) {
			return ""
		}
		return key + ", which is neither enabled nor disabled"
	case slices.Contains(otherNames, key), ours && o.ID.Group == "skerry.dev": // our own kinds have more
		return ""
	}
	return key + ", which is no annotation of " + strings.TrimSuffix(key[:len(key)-len(name)], "/")
}
