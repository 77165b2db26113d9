package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// ignoredKeys are annotations by which other tools order, run or keep objects, and which are applied here
// like any other. Of Argo CD's, Prune=false and Delete=false of sync-options are read: see PruneDisabled.
var ignoredKeys = []string{
	"argocd.argoproj.io/hook",
	"helm.sh/hook",
	"helm.sh/resource-policy",
}

// IgnoredAnnotations names the annotations of other tools that the objects have and that have no effect, each
// with the first object that has it and the number of the others; "" when there are none. A manifest that was
// written for such a tool may mean something else by them: a hook runs once, here it is kept.
func IgnoredAnnotations(objects []Object) string {
	var words []string
	for _, key := range ignoredKeys {
		var first ID
		n := 0
		for i := range objects {
			if objects[i].annotated(key) {
				if n++; n == 1 {
					first = objects[i].ID
				}
			}
		}
		switch {
		case n == 1:
			words = append(words, fmt.Sprintf("%s (%s)", key, first))
		case n > 1:
			words = append(words, fmt.Sprintf("%s (%s and %d more)", key, first, n-1))
		}
	}
	return strings.Join(words, ", ")
}

// annotated reports whether an object has an annotation. Most do not hold the key anywhere, and are not
// decoded for it.
func (o Object) annotated(key string) bool {
	if !bytes.Contains(o.Body, []byte(`"`+key+`"`)) {
		return false
	}
	var top struct {
		Metadata struct {
			Annotations map[string]json.RawMessage `json:"annotations"`
		} `json:"metadata"`
	}
	if json.Unmarshal(o.Body, &top) != nil {
		return false
	}
	_, has := top.Metadata.Annotations[key]
	return has
}
