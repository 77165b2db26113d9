package fleetsim

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Version is what an edge says of itself: of the Kubernetes whose libraries are linked.
const Version = "v1.37.2"

const versionText = `{
  "major": "1",
  "minor": "37",
  "gitVersion": "` + Version + `",
  "gitCommit": "0000000000000000000000000000000000000000",
  "gitTreeState": "clean",
  "buildDate": "2026-01-01T00:00:00Z",
  "goVersion": "go1.26",
  "compiler": "gc",
  "platform": "linux/amd64"
}`

// verbsOfKind are what each kind offers.
var verbsOfKind = metav1.Verbs{"delete", "get", "list", "patch", "create", "update", "watch"}

// discover answers what is not about objects; nil when the request is not of that sort.
func (e *Edge) discover(r *request) *answer {
	if r.method != http.MethodGet {
		return nil
	}
	switch path := strings.TrimSuffix(r.path, "/"); path {
	case "/version":
		return jsonAnswer(http.StatusOK, []byte(versionText))
	case "/healthz", "/livez", "/readyz":
		return &answer{code: http.StatusOK, contentType: "text/plain; charset=utf-8", body: []byte("ok")}
	case "/api":
		return encoded(&metav1.APIVersions{
			TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"},
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: e.address}},
		})
	case "/apis":
		if strings.Contains(r.accept, "g="+apidiscovery.GroupName+";v=v2;as=APIGroupDiscoveryList") {
			return e.aggregated()
		}
		return encoded(e.groups())
	default:
		if strings.Count(path, "/") == 2 && strings.HasPrefix(path, "/api/") || strings.Count(path, "/") == 3 && strings.HasPrefix(path, "/apis/") {
			return e.resources(path)
		}
		if strings.Count(path, "/") == 2 && strings.HasPrefix(path, "/apis/") {
			return e.group(strings.TrimPrefix(path, "/apis/"))
		}
	}
	return nil
}

func encoded(v any) *answer {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings can be encoded
	}
	return jsonAnswer(http.StatusOK, append(body, '\n'))
}

func (e *Edge) groups() *metav1.APIGroupList {
	list := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	versions := slices.Clone(e.fleet.kinds.order[1:])
	e.mu.Lock()
	for _, k := range e.custom {
		if gv := k.gvk.GroupVersion(); !slices.Contains(versions, gv) {
			versions = append(versions, gv)
		}
	}
	e.mu.Unlock()
	slices.SortFunc(versions[len(e.fleet.kinds.order)-1:], func(a, b schema.GroupVersion) int { return strings.Compare(a.String(), b.String()) })
	for _, gv := range versions {
		v := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
		if n := len(list.Groups); n > 0 && list.Groups[n-1].Name == gv.Group {
			list.Groups[n-1].Versions = append(list.Groups[n-1].Versions, v)
			continue
		}
		list.Groups = append(list.Groups, metav1.APIGroup{Name: gv.Group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v})
	}
	return list
}

// aggregated answers all groups with their resources. What is built in is encoded once for all.
func (e *Edge) aggregated() *answer {
	e.mu.Lock()
	var own []*kind
	for _, k := range e.custom {
		own = append(own, k)
	}
	e.mu.Unlock()
	if len(own) == 0 {
		return jsonAnswer(http.StatusOK, e.fleet.allGroups())
	}
	return jsonAnswer(http.StatusOK, discoveryList(append(e.fleet.kinds.grouped(), own...)))
}

// grouped returns the kinds that are built in and not of the core group.
func (b *builtins) grouped() []*kind {
	var all []*kind
	for path, kinds := range b.versions {
		if strings.HasPrefix(path, "/apis/") {
			all = slices.AppendSeq(all, maps.Values(kinds))
		}
	}
	return all
}

func discoveryList(kinds []*kind) []byte {
	slices.SortFunc(kinds, func(a, b *kind) int {
		return cmp.Or(strings.Compare(a.apiVersion, b.apiVersion), strings.Compare(a.resource, b.resource))
	})
	list := &apidiscovery.APIGroupDiscoveryList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: apidiscovery.SchemeGroupVersion.String()}}
	var group *apidiscovery.APIGroupDiscovery
	var version *apidiscovery.APIVersionDiscovery
	for _, k := range kinds {
		if group == nil || group.Name != k.gvk.Group {
			list.Items = append(list.Items, apidiscovery.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: k.gvk.Group}})
			group, version = &list.Items[len(list.Items)-1], nil
		}
		if version == nil || version.Version != k.gvk.Version {
			group.Versions = append(group.Versions, apidiscovery.APIVersionDiscovery{Version: k.gvk.Version, Freshness: apidiscovery.DiscoveryFreshnessCurrent})
			version = &group.Versions[len(group.Versions)-1]
		}
		r := apidiscovery.APIResourceDiscovery{
			Resource: k.resource, ResponseKind: &metav1.GroupVersionKind{Kind: k.gvk.Kind}, Scope: apidiscovery.ScopeCluster,
			SingularResource: k.singular, ShortNames: k.short, Verbs: verbsOfKind,
		}
		if k.namespaced {
			r.Scope = apidiscovery.ScopeNamespace
		}
		if k.status {
			r.Subresources = []apidiscovery.APISubresourceDiscovery{{
				Subresource: "status", ResponseKind: &metav1.GroupVersionKind{Kind: k.gvk.Kind}, Verbs: []string{"get", "patch", "update"},
			}}
		}
		version.Resources = append(version.Resources, r)
	}
	return encoded(list).body
}

func (e *Edge) group(name string) *answer {
	for _, g := range e.groups().Groups {
		if g.Name == name {
			g.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
			return encoded(&g)
		}
	}
	return notServed()
}

// resources answers what a group and version serves. What is built in is encoded once for all.
func (e *Edge) resources(path string) *answer {
	if doc, ok := e.fleet.documents[path]; ok {
		return jsonAnswer(http.StatusOK, doc)
	}
	var kinds []*kind
	e.mu.Lock()
	for key, k := range e.custom {
		if strings.HasPrefix(key, path+"/") {
			kinds = append(kinds, k)
		}
	}
	e.mu.Unlock()
	if len(kinds) == 0 {
		return notServed()
	}
	return jsonAnswer(http.StatusOK, resourceList(kinds))
}

func resourceList(kinds []*kind) []byte {
	slices.SortFunc(kinds, func(a, b *kind) int { return strings.Compare(a.resource, b.resource) })
	list := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: kinds[0].apiVersion}
	for _, k := range kinds {
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: k.resource, SingularName: k.singular, Namespaced: k.namespaced, Kind: k.gvk.Kind, ShortNames: k.short,
			Verbs: verbsOfKind,
		})
		if k.status {
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: k.resource + "/status", Namespaced: k.namespaced, Kind: k.gvk.Kind, Verbs: metav1.Verbs{"get", "patch", "update"},
			})
		}
	}
	return encoded(list).body
}
