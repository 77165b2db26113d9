package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Mode is how an object is applied beside other owners of its fields. The modes and their names are
// those of Flux's annotation kustomize.toolkit.fluxcd.io/ssa.
type Mode uint8

// Modes.
const (
	// Override applies the object, and undoes what people and deployment tools wrote beside it.
	Override Mode = iota
	// Merge applies the object, and leaves the fields that others own and that Git does not name.
	Merge
	// IfNotPresent creates the object where there is none of its name, and never changes one.
	IfNotPresent
	// Ignore does nothing about the object.
	Ignore
)

// Policy is what the metadata of an object asks for.
type Policy struct {
	Mode Mode
	// Force deletes the object and creates it anew when a field of it is immutable.
	Force bool
}

// Keys of the annotations, and of labels with the same meaning: ours wins over Flux's.
var (
	ssaKeys       = [2]string{"skerry.dev/ssa", "kustomize.toolkit.fluxcd.io/ssa"}
	forceKeys     = [2]string{"skerry.dev/force", "kustomize.toolkit.fluxcd.io/force"}
	reconcileKeys = [2]string{"skerry.dev/reconcile", "kustomize.toolkit.fluxcd.io/reconcile"}
)

// PolicyKeys are the annotations, or labels, that specify how Skerry handles an object.
func PolicyKeys() []string {
	return slices.Concat(ssaKeys[:], forceKeys[:], reconcileKeys[:], []string{PruneKey, fluxPruneKey, argoOptions})
}

// PolicyOf reads a policy from labels and annotations. An unknown mode is an error, which names the
// annotation, and is read as Override.
func PolicyOf(labels, annotations map[string]string) (Policy, error) {
	get := func(keys [2]string) string {
		for _, key := range keys {
			if v := annotations[key]; v != "" {
				return v
			}
			if v := labels[key]; v != "" {
				return v
			}
		}
		return ""
	}
	p := Policy{Force: strings.EqualFold(get(forceKeys), "enabled")}
	mode := get(ssaKeys)
	switch {
	case strings.EqualFold(get(reconcileKeys), "disabled"), strings.EqualFold(mode, "Ignore"):
		p.Mode = Ignore
	case mode == "", strings.EqualFold(mode, "Override"):
	case strings.EqualFold(mode, "Merge"):
		p.Mode = Merge
	case strings.EqualFold(mode, "IfNotPresent"):
		p.Mode = IfNotPresent
	default:
		return p, fmt.Errorf("annotation %s: want Override, Merge, IfNotPresent or Ignore", ssaKeys[0])
	}
	return p, nil
}

// policyMarkers occur in the metadata of every object that asks for a policy.
var policyMarkers = [][]byte{[]byte("/ssa"), []byte("/force"), []byte("/reconcile")}

// policy reads metadata as it stands in a body. Most objects have none of the keys, and are not decoded
// for it.
func policy(labels, annotations json.RawMessage) Policy {
	if !slices.ContainsFunc(policyMarkers, func(m []byte) bool { return bytes.Contains(labels, m) || bytes.Contains(annotations, m) }) {
		return Policy{}
	}
	p, _ := PolicyOf(stringsOf(labels), stringsOf(annotations))
	return p
}
