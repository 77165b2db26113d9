package object

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// managerPrefix starts the field manager of every owner.
const managerPrefix = "skerry."

// Owner is one Kustomization of one hub: that which may change and delete an object.
type Owner struct {
	// Hub is the identity of the hub, not of its process: a hub that is set up again from the same
	// Git path keeps it.
	Hub string
	// Namespace and Name of the Kustomization on the hub.
	Namespace, Name string
}

// Label is the value of the owner label: readable, and at most 63 characters whatever the names.
func (o Owner) Label() string {
	sum := sha256.Sum256([]byte(o.Hub + "\x00" + o.Namespace + "\x00" + o.Name))
	name := o.Name
	if len(name) > 40 {
		name = strings.TrimRight(name[:40], "-._")
	}
	return name + "." + hex.EncodeToString(sum[:8])
}

// FieldManager is the field manager of an owner's applies. It follows from the label alone, so that
// an object shows which of its managed fields are the owner's.
func (o Owner) FieldManager() string { return FieldManager(o.Label()) }

// IsFieldManager reports whether a field manager is that of an owner, whichever.
func IsFieldManager(name string) bool { return strings.HasPrefix(name, managerPrefix) }

// FieldManager is the field manager of the owner whose label is given.
func FieldManager(label string) string { return managerPrefix + label }
