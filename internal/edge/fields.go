package edge

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/drift"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// Fields is what matters for drift of the managed fields of an object.
type Fields struct {
	// Digest of the fields that our manager applied and still owns, and of those that people and
	// deployment tools own beside them; "" when ours owns nothing.
	//
	// Drift shows there and nowhere else needs to be looked: the API server takes a field out of our
	// set as soon as another manager changes its value, and enters what kubectl adds beside it as an
	// entry of its own. A status, a replica count that an autoscaler owns, or a field of a controller
	// changes neither. So metadata is enough to see drift in any kind, Secrets included.
	Digest string
	// Foreign is true when people or deployment tools own fields, which TakeOver hands to us.
	Foreign bool
	// Entries is true when some of these are entries of lists, such as a port or a container. An apply
	// would put ours beside them.
	Entries bool
	// Replicas is true when our manager owns spec.replicas.
	Replicas bool
	// Yielded are the ignored fields that other managers own, in the form of managed fields; "" when there
	// are none. They are not applied.
	Yielded string
}

// ReadFields reads the managed fields of an object whose owner applies as manager. With keep, the
// fields of people and tools are left alone, and not counted. Ignored fields are not counted, whichever manager has
// them.
func ReadFields(managed []metav1.ManagedFieldsEntry, manager string, keep bool, ignored *drift.Ignored) Fields {
	var f Fields
	var sets [][]byte
	applied := false
	for i := range managed {
		e := &managed[i]
		switch {
		case e.FieldsV1 == nil || e.Subresource != "":
		case isOurs(e, manager):
			applied = true
			sets = append(sets, setText(counted(e, ignored), e.APIVersion))
			f.Replicas = f.Replicas || bytes.Contains(e.FieldsV1.GetRawBytes(), []byte(`"f:replicas"`))
		case !keep && isTool(e.Manager):
			paths := foreign(e, ignored)
			if len(paths) == 0 {
				continue
			}
			f.Foreign = true
			f.Entries = f.Entries || slices.ContainsFunc(paths, inList)
			sets = append(sets, setText(counted(e, ignored), e.Manager, string(e.Operation), e.APIVersion))
		}
	}
	f.Yielded = yielded(managed, manager, ignored)
	if !applied {
		f.Digest = ""
		return f
	}
	slices.SortFunc(sets, bytes.Compare)
	h := sha256.New()
	for _, s := range sets {
		h.Write(s)
		h.Write([]byte{0})
	}
	f.Digest = hex.EncodeToString(h.Sum(nil)[:12])
	return f
}

// setText returns what the digest is made of for one entry: words that name it, and its fields.
func setText(fields []byte, names ...string) []byte {
	n := len(fields)
	for _, name := range names {
		n += len(name) + 1
	}
	text := make([]byte, 0, n)
	for _, name := range names {
		text = append(append(text, name...), 0)
	}
	return append(text, fields...)
}

// counted returns what of an entry counts for drift, as text.
func counted(e *metav1.ManagedFieldsEntry, ignored *drift.Ignored) []byte {
	raw := e.FieldsV1.GetRawBytes()
	if ignored == nil {
		return raw
	}
	set, ok := decodeFields(e)
	if !ok {
		return raw
	}
	left, _ := ignored.Split(set)
	return []byte(fieldsText(left))
}

// yielded returns the ignored fields that other managers own.
func yielded(managed []metav1.ManagedFieldsEntry, manager string, ignored *drift.Ignored) string {
	if ignored == nil {
		return ""
	}
	all := &fieldpath.Set{}
	for i := range managed {
		if isOurs(&managed[i], manager) {
			continue
		}
		if set, ok := decodeFields(&managed[i]); ok {
			_, theirs := ignored.Split(set)
			all = all.Union(theirs)
		}
	}
	if all.Empty() {
		return ""
	}
	return fieldsText(all)
}

func fieldsText(set *fieldpath.Set) string {
	raw, err := set.ToJSON()
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(raw))
}

func isOurs(e *metav1.ManagedFieldsEntry, manager string) bool {
	return e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
}

// tools are the field managers of people and of tools that deploy whole objects, in lower case: what
// they write is configuration, which is Git's alone. The name of a manager that is not set is the
// first word of the client's User-Agent. Controllers are not among them, nor is
// flux-client-side-apply, which Flux documents as the manager that may keep a change.
var tools = map[string]bool{
	"before-first-apply": true, // the API server's own name for what it found without managed fields
	"k9s":                true,
	"lens":               true, "openlens": true, "freelens": true, "node-fetch": true, // Lens
	"mozilla":   true, // dashboards in a browser
	"dashboard": true, "dashboard-api": true, "kubernetes-dashboard": true,
	"headlamp": true, "headlamp-server": true, "octant": true, "aptakube": true, "kubenav": true, "seabird": true,
	"portainer": true, "kuboard": true, "monokle": true,
	"oc": true, "curl": true, "postmanruntime": true, "insomnia": true, "httpie": true, "wget": true,
	"helm": true, "helm-controller": true,
	"kustomize-controller": true, "kustomize": true, // and not flux, with which the flux CLI suspends
	"fleetagent": true, "fleet-agent": true,
	"kapp": true, "kapp-server-side-apply": true, "kpt": true, "configsync": true,
	"tanka": true, "werf": true, "skaffold": true, "tilt": true, "kubecfg": true, "terraform": true, "hashicorp": true, "ansible": true,
}

// toolPrefixes begin the names of tools that write under several.
var toolPrefixes = []string{
	"kubectl", // -client-side-apply, -edit, -patch, -create, -replace, -set, -label, -annotate, -rollout
	"oc-",
	"argocd-",
	"pulumi-",
	"terraform-",
	"skerry.", // the former owner of an object that has changed hands
}

func isTool(manager string) bool {
	name := strings.ToLower(manager)
	return tools[name] || slices.ContainsFunc(toolPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// controlPlane are managers of the control plane, which own what they write, whatever Git has.
func controlPlane(manager string) bool {
	name := strings.ToLower(manager)
	return strings.HasPrefix(name, "kube-") || slices.Contains([]string{"k3s", "k0s", "kubelite", "rke2", "cloud-controller-manager"}, name)
}

// preserved reports whether a field stays with the manager that wrote it: what the API server or a controller
// decides, or what asks for a policy.
func preserved(p fieldpath.Path) bool {
	if len(p) > 2 && named(p[0], "metadata") && named(p[1], "annotations") && p[2].FieldName != nil &&
		slices.ContainsFunc(requestPrefixes, func(prefix string) bool { return strings.HasPrefix(*p[2].FieldName, prefix) }) {
		return true
	}
	return slices.ContainsFunc(preservedPaths, func(k []string) bool {
		if len(p) < len(k) {
			return false
		}
		for i, name := range k {
			if !named(p[i], name) {
				return false
			}
		}
		return true
	})
}

func named(e fieldpath.PathElement, name string) bool {
	return e.FieldName != nil && *e.FieldName == name
}

// requestPrefixes begin the annotations with which people ask a controller for something: to reconcile
// now, to allow a prune, to promote a rollout. An object that has one may come from Git itself.
var requestPrefixes = []string{"skerry.dev/", "reconcile.fluxcd.io/"}

var preservedPaths = func() [][]string {
	paths := [][]string{
		{"status"},
		{"metadata", "finalizers"},
		{"metadata", "ownerReferences"},
		{"spec", "replicas"},      // taking it out would scale to one
		{"spec", "unschedulable"}, // kubectl cordon
		{"spec", "volumeName"}, {"spec", "claimRef"}, {"spec", "clusterIP"}, {"spec", "clusterIPs"}, {"spec", "nodeName"},
		// kubectl rollout restart is an operation, and no configuration.
		{"spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"},
	}
	for _, key := range object.PolicyKeys() {
		paths = append(paths, []string{"metadata", "annotations", key}, []string{"metadata", "labels", key})
	}
	return paths
}()

// foreign returns the fields of an entry that are to be taken over.
func foreign(e *metav1.ManagedFieldsEntry, ignored *drift.Ignored) []fieldpath.Path {
	set, ok := decodeFields(e)
	if !ok {
		return nil
	}
	var paths []fieldpath.Path
	for _, p := range significant(set) {
		if !preserved(p) && !ignored.Covers(p) {
			paths = append(paths, p)
		}
	}
	return paths
}

// inList returns whether a path leads into an entry of a list.
func inList(p fieldpath.Path) bool {
	return slices.ContainsFunc(p, func(e fieldpath.PathElement) bool { return e.FieldName == nil })
}

// significant returns the paths of a set that hold something by themselves: leaves and entries of
// lists. That a client owns a map as such, which an update notes and an apply does not, would take
// along what others put into it.
func significant(set *fieldpath.Set) []fieldpath.Path {
	leaves := set.Leaves()
	var paths []fieldpath.Path
	set.Iterate(func(p fieldpath.Path) {
		if len(p) > 0 && (p[len(p)-1].FieldName == nil || leaves.Has(p)) {
			paths = append(paths, p.Copy())
		}
	})
	return paths
}

const (
	// maxFields bounds the set of one entry that is decoded, in bytes, and maxNesting its depth: the
	// paths in it take the product of both.
	maxFields  = 256 << 10
	maxNesting = 64
)

// decodeFields reads the set of an entry. An edge may send anything; what no API server would send
// counts as nothing.
func decodeFields(e *metav1.ManagedFieldsEntry) (set *fieldpath.Set, ok bool) {
	if e.FieldsV1 == nil {
		return nil, false
	}
	if raw := e.FieldsV1.GetRawString(); len(raw) > maxFields || nesting(raw) > maxNesting {
		return nil, false
	}
	defer func() {
		if recover() != nil {
			recovery.CountInput()
			set, ok = nil, false
		}
	}()
	set = &fieldpath.Set{}
	if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
		return nil, false
	}
	return set, true
}

// nesting returns how deep objects stand in each other in JSON, or more where brackets stand in strings.
func nesting(raw string) int {
	depth, deepest := 0, 0
	for i := range len(raw) {
		switch raw[i] {
		case '{':
			depth++
			deepest = max(deepest, depth)
		case '}':
			depth--
		}
	}
	return deepest
}

func encodeFields(e metav1.ManagedFieldsEntry, set *fieldpath.Set) (metav1.ManagedFieldsEntry, bool) {
	raw, err := set.ToJSON()
	if err != nil {
		return e, false
	}
	e.FieldsV1 = &metav1.FieldsV1{}
	e.FieldsV1.SetRawBytes(bytes.TrimSpace(raw))
	return e, true
}

// Takeover asks for other managed fields of an object.
type Takeover struct {
	// Manager is ours, and APIVersion the version in which it applies.
	Manager, APIVersion string
	// Adopting means that the object was not ours before: what Git names is then Git's alone, whichever manager
	// wrote it before. It needs an entry of ours.
	Adopting bool
	// Keep leaves the fields of people and tools alone.
	Keep bool
	// YieldReplicas takes spec.replicas out of what we own, so that the number stays when we no longer
	// apply one.
	YieldReplicas bool
	// Ignored fields stay with the manager that owns them.
	Ignored *drift.Ignored
}

// Taken is the outcome of a Takeover.
type Taken struct {
	// Managed are the managed fields to write; nil when nothing changes.
	Managed []metav1.ManagedFieldsEntry
	// Grown means that we own fields now that the last apply did not name: the next one removes them.
	Grown bool
	// Contested names the fields and the managers that owned them.
	Contested *apierror.ConflictError
}

// Of decides what becomes of the managed fields of an object. Entries of people and tools are merged
// into ours, so that the next apply removes what it does not name; their fields at another version of
// the API are only given up, for they may not exist in ours. The status and other subresources stay
// whose they are.
func (t Takeover) Of(managed []metav1.ManagedFieldsEntry) Taken {
	x := &taking{Takeover: t, taken: &fieldpath.Set{}, contested: &apierror.ConflictError{}}
	entry := x.own(managed)
	for i := range managed {
		x.take(managed[i])
	}
	all := x.ours.Union(x.taken)
	if replicas := fieldpath.MakePathOrDie("spec", "replicas"); t.YieldReplicas && all.Has(replicas) {
		all, x.changed = all.Difference(fieldpath.NewSet(replicas)), true
	}
	if !x.changed {
		return Taken{}
	}
	entry, ok := encodeFields(entry, all)
	if !ok {
		return Taken{}
	}
	out := Taken{Managed: append(x.rest, entry), Grown: !x.taken.Difference(x.ours).Empty()}
	if len(x.contested.Managers) > 0 {
		out.Contested = x.contested.Sorted()
	}
	return out
}

// taking is a Takeover under way.
type taking struct {
	Takeover
	ours, taken *fieldpath.Set // what we own already, and what we get
	contested   *apierror.ConflictError
	rest        []metav1.ManagedFieldsEntry // the other entries, as they become
	changed     bool
}

// own takes up the fields that we own, and returns our entry.
func (x *taking) own(managed []metav1.ManagedFieldsEntry) metav1.ManagedFieldsEntry {
	entry := metav1.ManagedFieldsEntry{Manager: x.Manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: x.APIVersion, FieldsType: "FieldsV1"}
	x.ours = &fieldpath.Set{}
	for i := range managed {
		if !isOurs(&managed[i], x.Manager) || managed[i].APIVersion != x.APIVersion {
			continue
		}
		if set, ok := decodeFields(&managed[i]); ok {
			x.ours, entry = set, managed[i]
		}
	}
	return entry
}

// take decides what becomes of one entry.
func (x *taking) take(e metav1.ManagedFieldsEntry) {
	switch {
	case isOurs(&e, x.Manager) && e.APIVersion == x.APIVersion:
		return // comes last
	case e.Subresource != "" || e.FieldsV1 == nil:
	case isTool(e.Manager) && !x.Keep && !isOurs(&e, x.Manager):
		if paths := foreign(&e, x.Ignored); len(paths) > 0 {
			if e.APIVersion == x.APIVersion {
				x.taken = x.taken.Union(fieldpath.NewSet(paths...))
			}
			addFields(x.contested, e.Manager, paths)
			set, _ := decodeFields(&e)
			x.drop(e, set, paths)
			return
		}
	case x.Adopting && !x.Keep && !controlPlane(e.Manager):
		if set, ok := decodeFields(&e); ok {
			if shared := x.shared(set); len(shared) > 0 {
				x.drop(e, set, shared)
				return
			}
		}
	}
	x.rest = append(x.rest, e)
}

// shared returns which of the fields are ours as well.
func (x *taking) shared(set *fieldpath.Set) []fieldpath.Path {
	return slices.DeleteFunc(significant(set), func(p fieldpath.Path) bool { return !x.ours.Has(p) || x.Ignored.Covers(p) })
}

// drop takes fields out of an entry, which goes when nothing is left of it.
func (x *taking) drop(e metav1.ManagedFieldsEntry, set *fieldpath.Set, paths []fieldpath.Path) {
	x.changed = true
	if left, ok := without(e, set, paths); ok {
		x.rest = append(x.rest, left)
	}
}

// without takes paths out of an entry. It is false when nothing is left that means anything.
func without(e metav1.ManagedFieldsEntry, set *fieldpath.Set, paths []fieldpath.Path) (metav1.ManagedFieldsEntry, bool) {
	left := fieldpath.NewSet(significant(set)...).Difference(fieldpath.NewSet(paths...))
	if left.Empty() {
		return e, false
	}
	return encodeFields(e, left)
}

// addFields adds fields and their manager to a conflict. An entry of a list that is a field itself stands for those in it.
func addFields(c *apierror.ConflictError, manager string, paths []fieldpath.Path) {
	all := fieldpath.NewSet(paths...)
	var fields []string
	for _, p := range paths {
		within := false
		for i := 1; i < len(p); i++ {
			within = within || all.Has(p[:i])
		}
		if !within {
			fields = append(fields, p.String())
		}
	}
	c.Add(manager, fields...)
}
