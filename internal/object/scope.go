package object

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Scope reports whether the objects of a kind live in a namespace.
type Scope int

// Scopes.
const (
	ScopeUnknown Scope = iota
	ScopeCluster
	ScopeNamespaced
)

// Scopes answers for the kinds that it knows, by group and kind, and ScopeUnknown for the others.
type Scopes func(group, kind string) Scope

// clusterScoped are the kinds of Kubernetes whose objects have no namespace, by group. Kinds that are
// missing are asked of the cluster.
var clusterScoped = map[string][]string{
	"":                             {"ComponentStatus", "Namespace", "Node", "PersistentVolume"},
	"admissionregistration.k8s.io": {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration"},
	"apiextensions.k8s.io":         {"CustomResourceDefinition"},
	"apiregistration.k8s.io":       {"APIService"},
	"authentication.k8s.io":        {"SelfSubjectReview", "TokenReview"},
	"authorization.k8s.io":         {"SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview"},
	"certificates.k8s.io":          {"CertificateSigningRequest", "ClusterTrustBundle"},
	"flowcontrol.apiserver.k8s.io": {"FlowSchema", "PriorityLevelConfiguration"},
	"internal.apiserver.k8s.io":    {"StorageVersion"},
	"networking.k8s.io":            {"IPAddress", "IngressClass", "ServiceCIDR"},
	"node.k8s.io":                  {"RuntimeClass"},
	"rbac.authorization.k8s.io":    {"ClusterRole", "ClusterRoleBinding"},
	"resource.k8s.io":              {"DeviceClass", "DeviceTaintRule", "ResourceSlice"},
	"scheduling.k8s.io":            {"PriorityClass"},
	"storage.k8s.io":               {"CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"},
	"storagemigration.k8s.io":      {"StorageVersionMigration"},
}

var clusterKinds = makeClusterKinds()

func makeClusterKinds() map[ID]bool {
	kinds := map[ID]bool{}
	for group, names := range clusterScoped {
		for _, kind := range names {
			kinds[ID{Group: group, Kind: kind}] = true
		}
	}
	return kinds
}

// BuiltInScope knows the kinds of Kubernetes that have no namespace.
func BuiltInScope(group, kind string) Scope {
	if clusterKinds[ID{Group: group, Kind: kind}] {
		return ScopeCluster
	}
	return ScopeUnknown
}

// BundleScopes knows what BuiltInScope does, and the kinds of the CustomResourceDefinitions among the
// objects. It reads no more of them than it is asked for.
func BundleScopes(objects []Object) Scopes {
	definitions := map[string][]Object{} // by group, which is in the name of each
	for _, o := range objects {
		if o.Group == "apiextensions.k8s.io" && o.Kind == "CustomResourceDefinition" {
			_, group, _ := strings.Cut(o.Name, ".")
			definitions[group] = append(definitions[group], o)
		}
	}
	known := map[ID]Scope{}
	return func(group, kind string) Scope {
		for _, o := range definitions[group] {
			if of, scope := definedScope(o.Body); scope != ScopeUnknown {
				known[ID{Group: group, Kind: of}] = scope
			}
		}
		delete(definitions, group)
		if scope := known[ID{Group: group, Kind: kind}]; scope != ScopeUnknown {
			return scope
		}
		return BuiltInScope(group, kind)
	}
}

// definedScope reads which kind a CustomResourceDefinition defines, and its scope. Both stand before
// the schemas in a canonical body, which are most of it and are not read.
func definedScope(body []byte) (kind string, scope Scope) {
	d := json.NewDecoder(bytes.NewReader(body))
	_ = eachKey(d, func(key string) error {
		if key != "spec" {
			return skip(d)
		}
		return eachKey(d, func(key string) error {
			switch key {
			case "names":
				var names map[string]json.RawMessage
				if err := d.Decode(&names); err != nil {
					return err
				}
				kind, _ = text(names["kind"]).(string)
				return nil
			case "scope":
				var value any
				if err := d.Decode(&value); err != nil {
					return err
				}
				switch value {
				case "Cluster":
					scope = ScopeCluster
				case "Namespaced":
					scope = ScopeNamespaced
				}
				return errEnough
			}
			return skip(d)
		})
	})
	if kind == "" {
		return "", ScopeUnknown // the API server refuses it, and then there is no such kind
	}
	return kind, scope
}

var errEnough = errors.New("enough was read")

// eachKey calls f for each key of the object that comes next; f reads the value.
func eachKey(d *json.Decoder, f func(key string) error) error {
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return errEnough
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		if err := f(fmt.Sprint(key)); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

func skip(d *json.Decoder) error {
	var value json.RawMessage
	return d.Decode(&value)
}

// Settle returns the ID under which the cluster keeps an object, and whether that is certain. A
// manifest or kustomize's `namespace:` may name a namespace for an object whose kind has none: the
// API server drops it, so that the same object would have one ID before its scope is known and another
// one after, and would be deleted under the first.
func (s Scopes) Settle(id ID) (ID, bool) {
	switch s(id.Group, id.Kind) {
	case ScopeCluster:
		id.Namespace = ""
		return id, true
	case ScopeNamespaced:
		return id, id.Namespace != ""
	default:
		return id, false
	}
}

// withoutNamespace returns the object with no namespace, in its ID and in its body.
func (o Object) withoutNamespace() (Object, error) {
	d := json.NewDecoder(bytes.NewReader(o.Body))
	d.UseNumber() // an int64 stays what it is
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return Object{}, fmt.Errorf("%s: not a JSON object", o.ID)
	}
	meta, ok := m["metadata"].(map[string]any)
	if !ok {
		return Object{}, fmt.Errorf("%s: metadata is not a JSON object", o.ID)
	}
	delete(meta, "namespace")
	return FromMap(m)
}
