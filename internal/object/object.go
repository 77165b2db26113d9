package object

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Object is one object as it is applied. It is a value: Body must not be changed.
type Object struct {
	ID
	// Version of the API group ("v1").
	Version string
	// Digest is 32 hexadecimal digits of the SHA-256 of Body, or what Seal makes of them.
	Digest string
	// Body is compact JSON with sorted keys, ready to be sent as a server-side apply.
	Body []byte
	// PruneDisabled means that the manifest asks that the object is never deleted.
	PruneDisabled bool
	// RemovedWhenFinished means that the object goes by itself some time after its work is done: a Job
	// with ttlSecondsAfterFinished.
	RemovedWhenFinished bool
	// Wave of the bundle in which the object is applied: it waits for all earlier ones to be healthy.
	Wave int32
	// Policy is what the object's own annotations ask for.
	Policy Policy
	// ManifestName is what ManifestNameKey holds: how messages name the object; empty where its own name
	// may be shown.
	ManifestName string
	// Seal makes digests of which nothing can be guessed; nil where there is none.
	Seal *Seal
	// Unsealed is the digest without Seal, where Digest is with it.
	Unsealed string
}

// APIVersion returns "group/version", or "version" for the core group.
func (o Object) APIVersion() string {
	if o.Group == "" {
		return o.Version
	}
	return o.Group + "/" + o.Version
}

// FromMap returns the canonical object of m, which it takes over and changes. m is what decoding the
// manifest yields, with string keys throughout. What a server owns (status, managedFields, uid, ...)
// is left out, and what server-side apply cannot merge is made so (see normalize). An error says
// which field is wrong; it never holds a value beside kind and name.
func FromMap(m map[string]any) (Object, error) {
	o, err := identify(m)
	if err != nil {
		return Object{}, err
	}
	if err := checkStrings(o.ID, m); err != nil {
		return Object{}, err
	}
	if err := normalize(o.ID, m); err != nil {
		return Object{}, fmt.Errorf("%s: %w", o.ID, err)
	}
	body, err := canonical(m)
	if err != nil {
		return Object{}, fmt.Errorf("%s: %w", o.ID, err)
	}
	o.Body, o.Digest = body, digest(body)
	labels, annotations := stringValues(field(m, "metadata", "labels")), stringValues(field(m, "metadata", "annotations"))
	o.PruneDisabled = PruneDisabled(labels, annotations)
	o.ManifestName = annotations[ManifestNameKey]
	o.RemovedWhenFinished = removedWhenFinished(o.ID, func() any { return field(m, "spec")["ttlSecondsAfterFinished"] })
	if o.Wave, err = WaveOf(annotations); err != nil {
		return Object{}, fmt.Errorf("%s: %w", o.ID, err)
	}
	if o.Policy, err = PolicyOf(labels, annotations); err != nil {
		return Object{}, fmt.Errorf("%s: %w", o.ID, err)
	}
	return o, nil
}

// WithBody returns the object with a decoded manifest in place of its own. It keeps its digest, which is that of
// what Git wants. What cannot be encoded leaves it as it is.
func (o Object) WithBody(m map[string]any) Object {
	if body, err := canonical(m); err == nil {
		o.Body = body
	}
	return o
}

// WithKey returns the object with a digest that stands for how it is applied as well as for its body: another key
// is a change of the object.
func (o Object) WithKey(key string) Object {
	if key != "" {
		o.setDigest(digest([]byte(o.plain() + "\n" + key)))
	}
	return o
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:16])
}

// identify reads version and ID from a decoded manifest.
func identify(m map[string]any) (Object, error) {
	var o Object
	apiVersion, _ := m["apiVersion"].(string)
	kind, _ := m["kind"].(string)
	meta, _ := m["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	namespace, _ := meta["namespace"].(string)
	id := ID{Kind: kind, Namespace: namespace, Name: name}
	switch {
	case apiVersion == "":
		return o, &FieldError{Field: "apiVersion", Problem: absentOr(m["apiVersion"])}
	case kind == "":
		return o, &FieldError{Field: "kind", Problem: absentOr(m["kind"])}
	case name == "" && isAbsent(meta["name"]) && !isAbsent(meta["generateName"]):
		return o, &FieldError{ID: id, Field: "metadata.generateName", Problem: "is not supported: an object whose name the cluster makes up would be created anew by each commit; give it a metadata.name"}
	case name == "":
		return o, &FieldError{ID: id, Field: "metadata.name", Problem: absentOr(meta["name"])}
	case namespace == "" && !isAbsent(meta["namespace"]):
		return o, &FieldError{ID: id, Field: "metadata.namespace", Problem: notAString(meta["namespace"])}
	}
	return newObject(apiVersion, id)
}

func isAbsent(v any) bool { return v == nil || v == "" }

func absentOr(v any) string {
	if isAbsent(v) {
		return "is missing"
	}
	return notAString(v)
}

func newObject(apiVersion string, id ID) (Object, error) {
	o := Object{ID: id, Version: apiVersion}
	if group, version, ok := strings.Cut(apiVersion, "/"); ok {
		o.Group, o.Version = group, version
		if group == "" {
			return Object{}, &FieldError{ID: id, Field: "apiVersion", Value: apiVersion, Problem: "has no group"}
		}
	}
	if !isIdentifier(o.Version) {
		return Object{}, &FieldError{ID: id, Field: "apiVersion", Value: apiVersion, Problem: "is not group/version"}
	}
	return o, o.validate()
}

// serverFields are the fields of metadata that only a server may set; a manifest that was exported
// from a cluster has them, and applying them would fail or claim what is not ours.
var serverFields = []string{
	"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation",
	"managedFields", "resourceVersion", "selfLink", "uid",
}

// normalize brings m to the form in which server-side apply gives the same result at each apply.
func normalize(id ID, m map[string]any) error {
	delete(m, "status")
	meta := m["metadata"].(map[string]any)
	for _, field := range serverFields {
		delete(meta, field)
	}
	for _, field := range []string{"labels", "annotations", "namespace"} {
		if v, ok := meta[field]; ok && (v == nil || v == "") {
			delete(meta, field)
		}
	}
	yield(id, m)
	switch {
	case id.Group == "" && id.Kind == "Secret":
		return mergeStringData(m)
	case id.Group == "" && id.Kind == "Service":
		setProtocols(field(m, "spec"))
	}
	if pod := podSpec(id, m); pod != nil {
		for _, list := range []string{"containers", "initContainers"} {
			containers, _ := pod[list].([]any)
			for _, c := range containers {
				c, _ := c.(map[string]any)
				setProtocols(c)
			}
		}
	}
	return nil
}

// mergeStringData moves a Secret's stringData into data. The API server does it too, but then an
// apply that drops a key of stringData leaves it in data for good (kubernetes/kubernetes#108008).
func mergeStringData(m map[string]any) error {
	if m["stringData"] == nil {
		delete(m, "stringData")
		return nil
	}
	plain, ok := m["stringData"].(map[string]any)
	if !ok {
		return errors.New("stringData is not a map")
	}
	data, ok := m["data"].(map[string]any)
	if !ok && m["data"] != nil {
		return errors.New("data is not a map")
	}
	data = maps.Clone(data)
	if data == nil {
		data = make(map[string]any, len(plain))
	}
	for _, key := range slices.Sorted(maps.Keys(plain)) {
		s, ok := plain[key].(string)
		if !ok {
			return fmt.Errorf("stringData[%q] is not a string", key)
		}
		data[key] = base64.StdEncoding.EncodeToString([]byte(s))
	}
	m["data"] = data
	delete(m, "stringData")
	return nil
}

// setProtocols writes the default protocol into ports: it is part of the key by which server-side
// apply merges them (kubernetes-sigs/structured-merge-diff#130).
func setProtocols(of map[string]any) {
	ports, _ := of["ports"].([]any)
	for _, p := range ports {
		port, ok := p.(map[string]any)
		if protocol := port["protocol"]; ok && (protocol == nil || protocol == "") {
			port["protocol"] = "TCP"
		}
	}
}

// podSpec returns the pod spec of a built-in kind that has one, else nil.
func podSpec(id ID, m map[string]any) map[string]any {
	switch id.Group + "/" + id.Kind {
	case "/Pod":
		return field(m, "spec")
	case "/ReplicationController", "apps/Deployment", "apps/StatefulSet", "apps/DaemonSet", "apps/ReplicaSet", "batch/Job":
		return field(m, "spec", "template", "spec")
	case "batch/CronJob":
		return field(m, "spec", "jobTemplate", "spec", "template", "spec")
	}
	return nil
}

// field returns the map at a path, or nil.
func field(m map[string]any, path ...string) map[string]any {
	for _, name := range path {
		m, _ = m[name].(map[string]any)
	}
	return m
}

// fromBody reads the ID out of a canonical body, matching keys exactly where encoding/json would
// ignore their case and find an ID that FromMap did not.
func fromBody(body []byte) (Object, error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(body, &top); err != nil {
		return Object{}, errors.New("not a JSON object")
	}
	var meta map[string]json.RawMessage
	if err := json.Unmarshal(top["metadata"], &meta); err != nil {
		return Object{}, errors.New("metadata is not a JSON object")
	}
	o, err := identify(map[string]any{
		"apiVersion": text(top["apiVersion"]),
		"kind":       text(top["kind"]),
		"metadata":   map[string]any{"name": text(meta["name"]), "namespace": text(meta["namespace"])},
	})
	if err != nil {
		return Object{}, err
	}
	o.Body, o.Digest = body, digest(body)
	o.PruneDisabled = pruneDisabled(meta["labels"], meta["annotations"])
	o.ManifestName = manifestName(meta["annotations"])
	o.RemovedWhenFinished = removedWhenFinished(o.ID, func() any {
		var spec map[string]any
		_ = json.Unmarshal(top["spec"], &spec) // what is no object has no fields
		return spec["ttlSecondsAfterFinished"]
	})
	o.Wave = wave(meta["annotations"])
	o.Policy = policy(meta["labels"], meta["annotations"]) // FromMap has refused what is wrong
	return o, nil
}

// text returns the string that raw holds, or nil where it holds none.
func text(raw json.RawMessage) any {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	return v
}
