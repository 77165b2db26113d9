package fleetsim

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/yaml"
)

// outcome is what becomes of an object by a write, on whichever edge.
type outcome struct {
	content *content
	// from says for each entry of managedFields which one of the object before it was, -1 for one
	// that is new or changed.
	from []int8
	// counts says that generation goes up.
	counts bool
	// uid and version are what the write asks the object to have; empty: anything.
	uid, version string
	// refused stands in place of all that.
	refused error
}

// write is a change of an object, the same for all edges on which the object is alike.
type write struct {
	kind            *kind
	namespace, name string
	verb            verb
	manager         string
	force           bool
	// json marks a JSON patch; a patch is a merge patch otherwise.
	json bool
	// status says that the write is to the status subresource.
	status bool
	body   []byte
}

// work finds out what becomes of an object; live is nil when there is none.
func work(live *content, w *write) *outcome {
	before := w.kind.blank()
	if live != nil {
		var err error
		if before, err = live.decode(); err != nil {
			return &outcome{refused: err}
		}
	}
	out := &outcome{}
	after, err := w.merge(live, before, out)
	if err == nil {
		err = out.finish(w.kind, live, before, after)
	}
	if err != nil {
		return &outcome{refused: err}
	}
	return out
}

func (w *write) merge(live *content, before *unstructured.Unstructured, out *outcome) (*unstructured.Unstructured, error) {
	switch w.verb {
	case verbApply:
		patch, err := w.decode(w.body)
		if err != nil {
			return nil, err
		}
		out.takePreconditions(patch)
		switch {
		case live == nil && out.uid != "":
			return nil, apierrors.NewConflict(w.kind.groupResource(), w.name,
				fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", out.uid))
		case live == nil && out.version != "":
			return nil, apierrors.NewNotFound(w.kind.groupResource(), w.name)
		}
		after, err := w.fields().Apply(before, patch, w.manager, w.force)
		if err != nil {
			return nil, err
		}
		return w.settle(before, after.(*unstructured.Unstructured)), nil
	case verbPatch:
		text, err := w.patched(before)
		if err != nil {
			return nil, err
		}
		return w.replaced(before, text, out)
	default:
		return w.replaced(before, w.body, out)
	}
}

// replaced is the object as a client wrote the whole of it.
func (w *write) replaced(before *unstructured.Unstructured, text []byte, out *outcome) (*unstructured.Unstructured, error) {
	after, err := w.decode(text)
	if err != nil {
		return nil, err
	}
	out.takePreconditions(after)
	after = w.settle(before, after)
	// The server's own fields are those of the object, whatever the client says.
	after.SetUID(before.GetUID())
	unstructured.RemoveNestedField(after.Object, "metadata", "generation")
	unstructured.RemoveNestedField(after.Object, "metadata", "creationTimestamp")
	updated, err := w.fields().Update(before, after, w.manager)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return updated.(*unstructured.Unstructured), nil
}

func (w *write) fields() *managedfields.FieldManager {
	if w.status {
		return w.kind.fields.status
	}
	return w.kind.fields.object
}

// patched is the object as JSON after a merge patch or a JSON patch.
func (w *write) patched(before *unstructured.Unstructured) ([]byte, error) {
	before = before.DeepCopy()
	before.SetUID("") // so that what the patch asks for is seen
	text, err := before.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("cannot encode: %w", err)
	}
	if !w.json {
		if text, err = jsonpatch.MergePatch(text, w.body); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return text, nil
	}
	patch, err := jsonpatch.DecodePatch(w.body)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if text, err = patch.Apply(text); err != nil {
		return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
			Message: "the server rejected our request due to an error in our request", Details: &metav1.StatusDetails{},
		}}
	}
	return text, nil
}

// takePreconditions moves what a body says of uid and version out of it.
func (o *outcome) takePreconditions(u *unstructured.Unstructured) {
	o.uid, o.version = string(u.GetUID()), u.GetResourceVersion()
	unstructured.RemoveNestedField(u.Object, "metadata", "uid")
	unstructured.RemoveNestedField(u.Object, "metadata", "resourceVersion")
}

// decode reads a body and checks it against the address that it was sent to.
func (w *write) decode(body []byte) (*unstructured.Unstructured, error) {
	if t := bytes.TrimLeft(body, " \t\r\n"); len(t) == 0 || t[0] != '{' {
		var err error
		if body, err = yaml.YAMLToJSON(body); err != nil {
			return nil, apierrors.NewBadRequest("error decoding YAML: " + err.Error())
		}
	}
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(body, &u.Object); err != nil || u.Object == nil {
		return nil, apierrors.NewBadRequest("the body of the request is not an object")
	}
	switch got := u.GroupVersionKind(); {
	case got == w.kind.gvk:
	case w.verb == verbApply && got.GroupVersion() == w.kind.gvk.GroupVersion():
		return nil, apierrors.NewBadRequest("invalid object type: " + got.String())
	default:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s", got.Kind, got.GroupVersion(), w.kind.gvk.Kind))
	}
	switch name := u.GetName(); {
	case name == "":
		u.SetName(w.name)
	case name != w.name:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", name, w.name))
	}
	switch ns := u.GetNamespace(); {
	case ns == "" && w.kind.namespaced:
		u.SetNamespace(w.namespace)
	case ns != w.namespace:
		return nil, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return u, nil
}

// settle does what an API server does to an object between the client's wish and the store, as far
// as any client can see: a write changes the status or all else, never both, and some defaults.
func (w *write) settle(before, after *unstructured.Unstructured) *unstructured.Unstructured {
	from, to := before, after
	if w.status {
		from, to = after, before.DeepCopy()
		to.SetManagedFields(after.GetManagedFields())
	}
	if w.kind.status {
		if status, ok := from.Object["status"]; ok {
			to.Object["status"] = status
		} else {
			delete(to.Object, "status")
		}
	}
	setDefaults(w.kind, to)
	return to
}

// finish makes the content and compares it with the one before.
func (o *outcome) finish(k *kind, live *content, before, after *unstructured.Unstructured) error {
	setUnowned(k, after)
	managed := after.GetManagedFields()
	o.counts = live != nil && k.counted && !sameButMetaAndStatus(before, after)
	var err error
	if o.content, err = newContent(k, after); err != nil {
		return err
	}
	o.from = origins(live, o.content.entries, managed)
	return nil
}

func sameButMetaAndStatus(a, b *unstructured.Unstructured) bool {
	strip := func(m map[string]any) map[string]any {
		out := make(map[string]any, len(m))
		for key, v := range m {
			if key != "metadata" && key != "status" {
				out[key] = v
			}
		}
		return out
	}
	return apiequality.Semantic.DeepEqual(strip(a.Object), strip(b.Object))
}

// origins says where each entry of managedFields comes from.
func origins(live *content, now []entryKey, managed []metav1.ManagedFieldsEntry) []int8 {
	from := make([]int8, len(now))
	for i, key := range now {
		from[i] = -1
		if live == nil || managed[i].Time == nil || managed[i].Time.UTC().Format("2006-01-02T15:04:05Z") != entryTime {
			continue
		}
		from[i] = int8(slices.Index(live.entries, key))
	}
	return from
}
