package fleetsim

import (
	"net/http"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

const (
	metadataAccept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	metadataList   = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	jsonPatch      = "application/json-patch+json"
)

// watches looks at all that the story brought, as the engine's watches do.
func watches(namespace string) []step {
	const query = "allowWatchBookmarks=true&labelSelector=" + v1alpha1.OwnerLabel +
		"&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&timeoutSeconds=30&watch=true"
	query2 := strings.ReplaceAll(query, "/", "%2F")
	var out []step
	for _, path := range []string{
		"/api/v1/configmaps", "/api/v1/secrets", "/api/v1/serviceaccounts", "/api/v1/namespaces",
		"/apis/rbac.authorization.k8s.io/v1/roles", "/apis/rbac.authorization.k8s.io/v1/clusterroles", "/apis/networking.k8s.io/v1/ingresses",
	} {
		out = append(out, step{Method: "GET", Path: path, Query: query2, Accept: metadataAccept + ",application/json"})
	}
	for _, path := range []string{
		"/apis/story.example.com/v1/boats", "/apis/apps/v1/deployments", "/api/v1/services", "/api/v1/namespaces/" + namespace + "/configmaps",
	} {
		out = append(out, step{Method: "GET", Path: path, Query: query2, Accept: jsonType})
	}
	return out
}

func cm(name, rest string) string {
	return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `","namespace":"probe"` + rest
}

// probes are requests that the engine sends rarely or never, and others do.
func probes() []step {
	const base = "/api/v1/namespaces/probe/configmaps"
	get := func(path string) step { return step{Method: "GET", Path: path, Accept: jsonType} }
	apply := func(manager, name, body string) step {
		return step{Method: "PATCH", Path: base + "/" + name, Query: "fieldManager=" + manager, ContentType: applyPatch, Accept: jsonType, Body: body}
	}
	force := func(s step) step { s.Query += "&force=true"; return s }
	with := func(method, path, query, contentType, body string) step {
		return step{Method: method, Path: path, Query: query, ContentType: contentType, Accept: jsonType, Body: body}
	}
	deleting := func(path, uid string) step {
		return with("DELETE", path, "", jsonType, `{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"`+uid+`"}}`)
	}
	return []step{
		// What is not there.
		get("/api/v1/namespaces/probe/configmaps/none"), get("/api/v1/nothings"), get("/apis/no.example.com/v1"), get("/apis/no.example.com/v1/things"),
		get("/api/v1/namespaces/none"), get("/apis/apps/v1/namespaces/none/deployments"),
		with("DELETE", base+"/none", "", "", ""), with("PATCH", base+"/none", "fieldManager=a", mergePatch, `{"data":{"a":"b"}}`),
		with("PUT", base+"/none", "fieldManager=a", jsonType, cm("none", `,"resourceVersion":"5"}}`)),
		apply("a", "early", cm("early", `}}`)),
		with("POST", base, "fieldManager=a", jsonType, cm("early", `}}`)),

		// Making.
		with("POST", "/api/v1/namespaces", "fieldManager=a", jsonType, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"probe"}}`),
		with("POST", "/api/v1/namespaces", "fieldManager=a", jsonType, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"probe"}}`),
		with("POST", base, "fieldManager=a", jsonType, cm("made", `,"labels":{"x":"y"}},"data":{"one":"1","two":"2"}}`)),
		with("POST", base, "fieldManager=a", jsonType, cm("made", `}}`)),
		get(base + "/made"),
		{Method: "GET", Path: base + "/made", Accept: metadataAccept},
		{Method: "GET", Path: base, Query: "labelSelector=x", Accept: jsonType},
		{Method: "GET", Path: base, Query: "labelSelector=x%3Dz", Accept: jsonType},
		{Method: "GET", Path: base, Query: "labelSelector=x", Accept: metadataList},
		{Method: "GET", Path: base, Query: "labelSelector=%21%21", Accept: jsonType},
		{Method: "GET", Path: base, Query: "fieldSelector=metadata.name%3Dmade", Accept: jsonType},

		// Several managers of one object.
		with("PUT", base+"/made", "fieldManager=b", jsonType, cm("made", `,"labels":{"x":"y"}},"data":{"one":"1","two":"22","three":"3"}}`)),
		with("PUT", base+"/made", "fieldManager=b", jsonType, cm("made", `,"labels":{"x":"y"}},"data":{"one":"1","two":"22","three":"3"}}`)),
		with("PUT", base+"/made", "fieldManager=b", jsonType, cm("made", `,"resourceVersion":"1"},"data":{"one":"1"}}`)),
		with("PUT", base+"/made", "fieldManager=b", jsonType, cm("made", `,"resourceVersion":"{version}"},"data":{"one":"1","two":"2"}}`)),
		with("PATCH", base+"/made", "fieldManager=c", mergePatch, `{"data":{"two":null,"four":"4"},"metadata":{"annotations":{"n":"m"}}}`),
		with("PATCH", base+"/made", "fieldManager=c", jsonPatch, `[{"op":"replace","path":"/data/four","value":"44"}]`),
		with("PATCH", base+"/made", "fieldManager=c", jsonPatch, `[{"op":"test","path":"/data/four","value":"no"}]`),
		with("PATCH", base+"/made", "fieldManager=c", mergePatch, `{"metadata":{"uid":"00000000-0000-4000-8000-000000000000"},"data":{"four":"5"}}`),
		with("PATCH", base+"/made", "fieldManager=c", mergePatch, `{"metadata":{"uid":"{uid}"},"data":{"four":"5"}}`),
		apply("d", "made", cm("made", `},"data":{"one":"11","five":"5"}}`)),
		force(apply("d", "made", cm("made", `},"data":{"one":"11","five":"5"}}`))),
		apply("e", "made", cm("made", `},"data":{"one":"12","five":"6","four":"6"}}`)),
		apply("e", "made", cm("made", `},"data":{"one":"11"}}`)),
		apply("d", "made", cm("made", `},"data":{"five":"5"}}`)),
		apply("d", "made", cm("made", `},"data":{"five":"5"}}`)),
		apply("d", "made", cm("made", `}}`)),
		apply("e", "made", cm("made", `}}`)),

		// Applies that are wrong.
		with("PATCH", base+"/made", "", applyPatch, cm("made", `}}`)),
		apply("d", "made", cm("other", `}}`)),
		apply("d", "made", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"made"}}`),
		apply("d", "made", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"made","namespace":"default"}}`),
		apply("d", "made", cm("made", `},"nonsense":{"a":"b"}}`)),
		apply("d", "made", cm("made", `,"resourceVersion":"1"},"data":{"five":"5"}}`)),
		apply("d", "made", cm("made", `,"uid":"00000000-0000-4000-8000-000000000000"},"data":{"five":"5"}}`)),
		apply("d", "made", cm("made", `,"managedFields":[{"manager":"x"}]}}`)),
		apply("d", "new", cm("new", `,"uid":"00000000-0000-4000-8000-000000000000"},"data":{"five":"5"}}`)),
		apply("d", "yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\ndata: {a: b}\n"),
		with("PATCH", base+"/made", "", "text/plain", `{}`),
		{Method: "GET", Path: base + "/made", Accept: "application/xml"},

		// Deleting.
		deleting(base+"/made", "00000000-0000-4000-8000-000000000000"),
		deleting(base+"/made", "{uid}"),
		apply("d", "held", cm("held", `,"finalizers":["example.com/wait"]},"data":{"five":"5"}}`)),
		with("DELETE", base+"/held", "", "", ""),
		with("DELETE", base+"/held", "", "", ""),
		get(base + "/held"),
		apply("d", "held", cm("held", `,"finalizers":["example.com/wait"]},"data":{"five":"6"}}`)),
		{Method: "PATCH", Path: base + "/held", Query: "fieldManager=d", ContentType: mergePatch, Accept: jsonType, Body: `{"metadata":{"finalizers":null}}`},
		get(base + "/held"),
		{Method: "DELETE", Path: base + "/yaml", Accept: metadataAccept},
		with("DELETE", "/api/v1/namespaces/probe", "", "", ""),
		get(base), get("/version"), get("/api/v1"), get("/apis/apps/v1"),
		{Method: http.MethodGet, Path: "/apis/apiextensions.k8s.io/v1", Accept: jsonType},
	}
}
