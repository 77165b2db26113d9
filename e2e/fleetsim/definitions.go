package fleetsim

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

func keepSecret(u *unstructured.Unstructured) {
	if _, ok := u.Object["type"]; !ok {
		u.Object["type"] = "Opaque"
	}
	plain, _, _ := unstructured.NestedStringMap(u.Object, "stringData")
	delete(u.Object, "stringData")
	if len(plain) == 0 {
		return
	}
	data, _ := u.Object["data"].(map[string]any)
	if data == nil {
		data = map[string]any{}
	}
	for key, v := range plain {
		data[key] = base64.StdEncoding.EncodeToString([]byte(v))
	}
	u.Object["data"] = data
}

func defineDefaults(u *unstructured.Unstructured) {
	spec, _ := u.Object["spec"].(map[string]any)
	names, _ := spec["names"].(map[string]any)
	kind, _ := names["kind"].(string)
	if kind == "" {
		return
	}
	if names["singular"] == nil {
		names["singular"] = strings.ToLower(kind)
	}
	if names["listKind"] == nil {
		names["listKind"] = kind + "List"
	}
	if spec["conversion"] == nil {
		spec["conversion"] = map[string]any{"strategy": "None"}
	}
}

func (c *content) definition() (*apiextensionsv1.CustomResourceDefinition, error) {
	d := &apiextensionsv1.CustomResourceDefinition{}
	if err := json.Unmarshal([]byte("{"+strings.TrimPrefix(c.tail, ",")), d); err != nil {
		return nil, fmt.Errorf("cannot read definition %s: %w", c.name, err)
	}
	d.Name = c.name
	return d, nil
}

// establishedStatus is what an API server says of a definition that it serves.
func establishedStatus(c *content) string {
	d, err := c.definition()
	if err != nil {
		return ""
	}
	stored := ""
	for _, v := range d.Spec.Versions {
		if v.Storage {
			stored = v.Name
		}
	}
	names, err := json.Marshal(d.Spec.Names)
	if err != nil {
		return ""
	}
	const format = `{"type":%q,"status":"True","reason":%q,"message":%q,"lastTransitionTime":%q}`
	return fmt.Sprintf(`{"acceptedNames":%s,"storedVersions":[%q],"conditions":[%s,%s]}`, names, stored,
		fmt.Sprintf(format, "NamesAccepted", "NoConflicts", "no conflicts found", conditionTime),
		fmt.Sprintf(format, "Established", "InitialNamesAccepted", "the initial names have been accepted", conditionTime))
}

// defined keeps the kinds that definitions make, so that a thousand edges with the same definition
// have one kind.
type defined struct {
	mu    sync.Mutex
	kinds map[[sha256.Size]byte]*kind
}

// kind returns the kind of the version that a definition stores. Others are not served, as nothing
// converts between them.
func (d *defined) kind(c *content) (*kind, error) {
	def, err := c.definition()
	if err != nil {
		return nil, err
	}
	key, err := json.Marshal(def.Spec)
	if err != nil {
		return nil, fmt.Errorf("cannot encode definition %s: %w", c.name, err)
	}
	sum := sha256.Sum256(key)
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := d.kinds[sum]; k != nil {
		return k, nil
	}
	k, err := newCustomKind(def)
	if err != nil {
		return nil, err
	}
	if d.kinds == nil {
		d.kinds = map[[sha256.Size]byte]*kind{}
	}
	d.kinds[sum] = k
	return k, nil
}

func newCustomKind(d *apiextensionsv1.CustomResourceDefinition) (*kind, error) {
	for _, v := range d.Spec.Versions {
		if !v.Storage {
			continue
		}
		gv := schema.GroupVersion{Group: d.Spec.Group, Version: v.Name}
		k := &kind{
			gvk: gv.WithKind(d.Spec.Names.Kind), apiVersion: gv.String(), resource: d.Spec.Names.Plural,
			singular: d.Spec.Names.Singular, short: d.Spec.Names.ShortNames,
			namespaced: d.Spec.Scope == apiextensionsv1.NamespaceScoped, counted: true, custom: true,
			status: v.Subresources != nil && v.Subresources.Status != nil,
		}
		types, err := customTypes(k, &v)
		if err != nil {
			return nil, err
		}
		k.fields, err = newFields(k, types)
		return k, err
	}
	return nil, fmt.Errorf("definition %s stores no version", d.Name)
}

// objectMeta is as much of the schema of metadata as decides how its fields are owned.
const objectMeta = `{"type":"object","properties":{
	"name":{"type":"string"},"namespace":{"type":"string"},"generateName":{"type":"string"},"uid":{"type":"string"},
	"resourceVersion":{"type":"string"},"selfLink":{"type":"string"},"generation":{"type":"integer"},
	"creationTimestamp":{"type":"string"},"deletionTimestamp":{"type":"string"},"deletionGracePeriodSeconds":{"type":"integer"},
	"labels":{"type":"object","additionalProperties":{"type":"string"}},
	"annotations":{"type":"object","additionalProperties":{"type":"string"}},
	"finalizers":{"type":"array","items":{"type":"string"},"x-kubernetes-list-type":"set"},
	"ownerReferences":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["uid"],"items":{
		"type":"object","x-kubernetes-map-type":"atomic","properties":{
			"apiVersion":{"type":"string"},"kind":{"type":"string"},"name":{"type":"string"},"uid":{"type":"string"},
			"controller":{"type":"boolean"},"blockOwnerDeletion":{"type":"boolean"}}}},
	"managedFields":{"type":"array","x-kubernetes-list-type":"atomic","items":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}`

// customTypes makes of a definition's schema what says which lists are sets, maps or one value.
func customTypes(k *kind, v *apiextensionsv1.CustomResourceDefinitionVersion) (managedfields.TypeConverter, error) {
	if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
		return managedfields.NewDeducedTypeConverter(), nil
	}
	text, err := json.Marshal(v.Schema.OpenAPIV3Schema)
	if err != nil {
		return nil, fmt.Errorf("cannot encode schema of %s: %w", k.gvk, err)
	}
	root, meta := &spec.Schema{}, &spec.Schema{}
	if err := json.Unmarshal(text, root); err != nil {
		return nil, fmt.Errorf("cannot read schema of %s: %w", k.gvk, err)
	}
	if err := json.Unmarshal([]byte(objectMeta), meta); err != nil {
		return nil, fmt.Errorf("cannot read schema of metadata: %w", err)
	}
	if root.Properties == nil {
		root.Properties = map[string]spec.Schema{}
	}
	root.Properties["apiVersion"] = *spec.StringProperty()
	root.Properties["kind"] = *spec.StringProperty()
	root.Properties["metadata"] = *spec.RefSchema("#/definitions/ObjectMeta")
	root.AddExtension("x-kubernetes-group-version-kind", []any{map[string]any{"group": k.gvk.Group, "version": k.gvk.Version, "kind": k.gvk.Kind}})
	types, err := managedfields.NewTypeConverter(map[string]*spec.Schema{"Object": root, "ObjectMeta": meta}, false)
	if err != nil {
		return nil, fmt.Errorf("cannot use schema of %s: %w", k.gvk, err)
	}
	return types, nil
}

// serveKinds serves what a definition defines. The lock is held.
func (e *Edge) serveKinds(o *instance) {
	k, err := e.fleet.defined.kind(o.c)
	if err != nil {
		e.fleet.fault(err)
		return
	}
	path := gvPath(k.gvk.GroupVersion()) + "/" + k.resource
	old := e.custom[path]
	if old == k {
		return
	}
	if e.custom == nil {
		e.custom = map[string]*kind{}
	}
	e.custom[path] = k
	if old != nil {
		e.rekind(old, k)
	}
}

// rekind hands the objects of a kind over to what its definition has become.
func (e *Edge) rekind(old, now *kind) {
	c := e.store[old]
	if c == nil {
		return
	}
	delete(e.store, old)
	for i, o := range c.objects {
		content := *o.c
		content.kind = now
		content.seal()
		moved := *o
		moved.c = e.fleet.transitions.contents.share(&content)
		c.objects[i] = &moved
	}
	for _, w := range c.watchers {
		w.kind = now
	}
	e.store[now] = c
}

// dropKinds stops serving what a definition defined.
func (e *Edge) dropKinds(o *instance) {
	for path, k := range e.custom {
		if k.resource+"."+k.gvk.Group != o.c.name {
			continue
		}
		delete(e.custom, path)
		if c := e.store[k]; c != nil {
			for _, w := range c.watchers {
				w.stream.end()
			}
			delete(e.store, k)
		}
	}
}
