package fleetsim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// reduce leaves of an answer what must be the same on any API server.
func reduce(body []byte) any {
	var o map[string]any
	if err := json.Unmarshal(body, &o); err != nil {
		if bytes.HasPrefix(body, []byte(`{"type"`)) {
			return reduceEvents(body)
		}
		return map[string]any{"text": strings.TrimSpace(string(body))}
	}
	return reduceObject(o)
}

func reduceEvents(body []byte) any {
	var out []any
	decoder := json.NewDecoder(bytes.NewReader(body))
	for {
		var e struct {
			Type   string
			Object map[string]any
		}
		if decoder.Decode(&e) != nil {
			return map[string]any{"events": out}
		}
		out = append(out, map[string]any{"type": e.Type, "object": reduceObject(e.Object)})
	}
}

func reduceObject(o map[string]any) map[string]any {
	if o["type"] != nil && o["object"] != nil { // a single event
		object, _ := o["object"].(map[string]any)
		return map[string]any{"events": []any{map[string]any{"type": o["type"], "object": reduceObject(object)}}}
	}
	kind, _ := o["kind"].(string)
	switch {
	case kind == "Status":
		return reduceStatus(o)
	case kind == "APIResourceList":
		return reduceResources(o)
	case strings.HasSuffix(kind, "List"):
		var items []any
		list, _ := o["items"].([]any)
		for _, item := range list {
			m, _ := item.(map[string]any)
			items = append(items, reduceObject(m))
		}
		meta, _ := o["metadata"].(map[string]any)
		return map[string]any{"kind": kind, "apiVersion": o["apiVersion"], "items": items, "versioned": meta["resourceVersion"] != ""}
	case o["gitVersion"] != nil:
		return map[string]any{"version": true}
	}
	out := map[string]any{}
	for key, v := range o {
		if key != "metadata" && key != "status" {
			out[key] = v
		}
	}
	if spec, ok := o["spec"].(map[string]any); ok && kind == "Service" {
		delete(spec, "clusterIP") // the next one that is free
		delete(spec, "clusterIPs")
	}
	meta, _ := o["metadata"].(map[string]any)
	out["metadata"] = reduceMeta(meta)
	out["of"] = kindOf(kind, meta)
	return out
}

// kindOf is the kind of an object, also of one of which only metadata came: its fields tell.
func kindOf(kind string, meta map[string]any) string {
	name, _ := meta["name"].(string)
	if kind == "PartialObjectMetadata" && (strings.HasPrefix(name, "cm-") || strings.HasPrefix(name, "skerry-") && meta["namespace"] != nil) {
		return "ConfigMap"
	}
	return kind
}

func reduceMeta(meta map[string]any) map[string]any {
	out := map[string]any{}
	for _, key := range []string{"name", "namespace", "labels", "finalizers", "generation"} {
		if v, ok := meta[key]; ok {
			out[key] = v
		}
	}
	annotations, _ := meta["annotations"].(map[string]any)
	delete(annotations, "deployment.kubernetes.io/revision") // by the controller of Deployments
	if len(annotations) > 0 {
		out["annotations"] = annotations
	}
	uid, _ := meta["uid"].(string)
	out["identified"] = uuid.MatchString(uid) && meta["resourceVersion"] != "" && meta["creationTimestamp"] != ""
	out["deleting"] = meta["deletionTimestamp"] != nil
	managed, _ := meta["managedFields"].([]any)
	var entries []any
	for _, m := range managed {
		e, _ := m.(map[string]any)
		if e["manager"] == "kube-controller-manager" || e["manager"] == "kube-apiserver" {
			continue
		}
		delete(e, "time")
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b any) int { return strings.Compare(sortKey(a), sortKey(b)) })
	out["managedFields"] = entries
	return out
}

func sortKey(entry any) string {
	e, _ := entry.(map[string]any)
	text, _ := json.Marshal([]any{e["operation"], e["manager"], e["subresource"]}) // strings
	return string(text)
}

func reduceStatus(o map[string]any) map[string]any {
	out := map[string]any{"kind": "Status"}
	for _, key := range []string{"status", "reason", "message", "code", "details"} {
		if v, ok := o[key]; ok {
			out[key] = v
		}
	}
	if out["reason"] == "NotAcceptable" {
		delete(out, "message") // lists what the server can write
	}
	if text, ok := out["message"].(string); ok {
		out["message"] = uuid.ReplaceAllString(text, "<uid>")
	}
	if details, ok := out["details"].(map[string]any); ok {
		if uid, ok := details["uid"].(string); ok {
			details["uid"] = uuid.MatchString(uid)
		}
		causes, _ := details["causes"].([]any)
		for _, c := range causes {
			cause, _ := c.(map[string]any)
			if text, ok := cause["message"].(string); ok {
				cause["message"] = uuid.ReplaceAllString(text, "<uid>")
			}
		}
		slices.SortFunc(causes, func(a, b any) int { // by chance, on a real one
			return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
		})
	}
	return out
}

// reduceResources leaves the kinds that edges serve: a real API server serves more.
func reduceResources(o map[string]any) map[string]any {
	gv, _ := o["groupVersion"].(string)
	var served []string
	for _, g := range builtin {
		if (schema.GroupVersion{Group: g.group, Version: g.version}).String() == gv {
			for _, k := range g.kinds {
				served = append(served, k.resource)
			}
		}
	}
	var out []any
	resources, _ := o["resources"].([]any)
	for _, r := range resources {
		m, _ := r.(map[string]any)
		name, _ := m["name"].(string)
		if strings.Contains(name, "/") || len(served) > 0 && !slices.Contains(served, name) {
			continue
		}
		out = append(out, map[string]any{"name": name, "kind": m["kind"], "namespaced": m["namespaced"], "singularName": m["singularName"]})
	}
	slices.SortFunc(out, func(a, b any) int {
		x, _ := a.(map[string]any)["name"].(string)
		y, _ := b.(map[string]any)["name"].(string)
		return strings.Compare(x, y)
	})
	return map[string]any{"kind": "APIResourceList", "groupVersion": gv, "resources": out}
}

// project leaves out of a real object what the simulation does not have: defaults that were filled
// in. Metadata, lists of events and the like stay as they are.
func project(real, here any) any {
	r, ok := real.(map[string]any)
	h, ok2 := here.(map[string]any)
	if !ok || !ok2 {
		return real
	}
	out := map[string]any{}
	for key, v := range r {
		switch {
		case key == "items" || key == "events":
			out[key] = projectAll(v, h[key])
		case key == "object":
			out[key] = project(v, h[key])
		case h["metadata"] != nil && key != "metadata" && key != "kind" && key != "apiVersion" && key != "of" && key != "changed":
			if _, there := h[key]; there {
				out[key] = subset(v, h[key])
			}
		default:
			out[key] = v
		}
	}
	return out
}

func projectAll(real, here any) any {
	r, ok := real.([]any)
	h, ok2 := here.([]any)
	if !ok || !ok2 || len(r) != len(h) {
		return real
	}
	out := make([]any, len(r))
	for i := range r {
		out[i] = project(r[i], h[i])
	}
	return out
}

// subset is as much of a real value as the simulated one has.
func subset(real, here any) any {
	switch h := here.(type) {
	case map[string]any:
		r, ok := real.(map[string]any)
		if !ok {
			return real
		}
		out := map[string]any{}
		for key, v := range r {
			if _, there := h[key]; there {
				out[key] = subset(v, h[key])
			}
		}
		return out
	case []any:
		r, ok := real.([]any)
		if !ok || len(r) != len(h) {
			return real
		}
		out := make([]any, len(r))
		for i := range r {
			out[i] = subset(r[i], h[i])
		}
		return out
	}
	return real
}
