package fleetsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (e *Edge) get(c *call) *answer {
	e.mu.Lock()
	o := e.collection(c.kind).get(c.namespace, c.name)
	e.mu.Unlock()
	if o == nil {
		return refuse(apierrors.NewNotFound(c.kind.groupResource(), c.name))
	}
	return e.show(http.StatusOK, o, c.form)
}

func (e *Edge) show(code int, o *instance, f form) *answer {
	return jsonAnswer(code, e.writer.append(nil, o, f))
}

func (e *Edge) list(c *call) *answer {
	f, err := e.filter(c)
	if err != nil {
		return refuse(err)
	}
	kind, version := c.kind.gvk.Kind+"List", c.kind.apiVersion
	if c.form == metadataOnly {
		kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	b := fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":"%d"},"items":[`, kind, version, e.version)
	first := true
	for _, o := range e.collection(c.kind).objects {
		if !f.matches(o) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = e.writer.appendItem(b, o, c.form)
	}
	return jsonAnswer(http.StatusOK, append(b, "]}\n"...))
}

func (e *Edge) filter(c *call) (filter, error) {
	f := filter{namespace: c.namespace}
	if s := c.query.Get("labelSelector"); s != "" {
		var err error
		if f.labels, err = e.fleet.selector(s); err != nil {
			return f, apierrors.NewBadRequest(err.Error())
		}
	}
	if s := c.query.Get("fieldSelector"); s != "" {
		for part := range strings.SplitSeq(s, ",") {
			key, value, _ := strings.Cut(part, "=")
			value = strings.TrimPrefix(value, "=")
			switch key {
			case "metadata.name":
				f.name = value
			case "metadata.namespace":
				f.namespace = value
			default:
				return f, apierrors.NewBadRequest(fmt.Sprintf("field label not supported: %s", key))
			}
		}
	}
	return f, nil
}

// create makes an object of a POST.
func (e *Edge) create(c *call) *answer {
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(c.body, &u.Object); err != nil || u.GetName() == "" {
		return refuse(apierrors.NewBadRequest("the body of the request is not an object with a name"))
	}
	c.name = u.GetName()
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.admit(c); err != nil {
		return refuse(err)
	}
	if e.collection(c.kind).get(c.namespace, c.name) != nil {
		return refuse(apierrors.NewAlreadyExists(c.kind.groupResource(), c.name))
	}
	return e.write(c, nil)
}

// change is a PUT or a PATCH, which of the patches only an apply may create.
func (e *Edge) change(c *call) *answer {
	if c.verb == verbPatch && !strings.HasPrefix(c.contentType, "application/merge-patch+json") && !strings.HasPrefix(c.contentType, "application/json-patch+json") {
		return generic(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType, "415: Unsupported Media Type")
	}
	if c.verb == verbApply && c.query.Get("fieldManager") == "" {
		return refuse(managerMissing())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.collection(c.kind).get(c.namespace, c.name)
	if old == nil {
		if c.verb != verbApply {
			return refuse(apierrors.NewNotFound(c.kind.groupResource(), c.name))
		}
		if err := e.admit(c); err != nil {
			return refuse(err)
		}
	}
	return e.write(c, old)
}

func managerMissing() error {
	s := metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
		Message: `PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch`,
		Details: &metav1.StatusDetails{Group: metav1.GroupName, Kind: "PatchOptions", Causes: []metav1.StatusCause{{
			Type: metav1.CauseTypeFieldValueRequired, Message: "Required value: is required for apply patch", Field: "fieldManager",
		}}},
	}
	return &apierrors.StatusError{ErrStatus: s}
}

// admit says whether a new object may be: its namespace must be there and must not be going.
func (e *Edge) admit(c *call) error {
	if !c.kind.namespaced {
		return nil
	}
	ns := e.collection(e.fleet.kinds.namespace).get("", c.namespace)
	if ns == nil {
		return apierrors.NewNotFound(e.fleet.kinds.namespace.groupResource(), c.namespace)
	}
	if ns.deleted > 0 {
		err := apierrors.NewForbidden(c.kind.groupResource(), c.name, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", c.namespace))
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
			Type: "NamespaceTerminating", Message: fmt.Sprintf("namespace %s is being terminated", c.namespace), Field: "metadata.namespace",
		})
		return err
	}
	return nil
}

// write carries out a create, an update or a patch on what is there. The lock is held.
func (e *Edge) write(c *call, old *instance) *answer {
	w := &write{
		kind: c.kind, namespace: c.namespace, name: c.name, verb: c.verb, manager: c.manager(), status: c.status,
		force: isTrue(c.query.Get("force")), json: strings.HasPrefix(c.contentType, "application/json-patch+json"), body: c.body,
	}
	var live *content
	if old != nil {
		live = old.c
	}
	out := e.fleet.transitions.outcome(live, w)
	if out.refused != nil {
		return refuse(out.refused)
	}
	if err := e.precondition(c, old, out.uid, out.version); err != nil {
		return refuse(err)
	}
	if c.query.Get("dryRun") != "" {
		return refuse(apierrors.NewBadRequest("a dry run is not simulated"))
	}
	o, changed := e.commit(c.kind, old, out)
	code := http.StatusOK
	if old == nil {
		code = http.StatusCreated
	}
	a := e.show(code, o, c.form)
	if changed {
		e.react(o)
	}
	return a
}

const modified = "the object has been modified; please apply your changes to the latest version and try again"

// precondition compares what a request asks of the object with what it is.
func (e *Edge) precondition(c *call, old *instance, uid, version string) error {
	if old == nil {
		return nil
	}
	if have := e.writer.uid(old); uid != "" && uid != have {
		switch c.verb {
		case verbDelete:
			return apierrors.NewConflict(schema.GroupResource{Group: c.kind.gvk.Group, Resource: c.kind.gvk.Kind}, c.name,
				fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", uid, have))
		case verbUpdate:
			return apierrors.NewConflict(c.kind.groupResource(), c.name, fmt.Errorf("Precondition failed: UID in precondition: %s, UID in object meta: %s", uid, have)) //nolint:staticcheck // the API server's own words
		default:
			immutable := field.Invalid(field.NewPath("metadata", "uid"), uid, "field is immutable")
			return apierrors.NewInvalid(c.kind.gvk.GroupKind(), c.name, field.ErrorList{immutable})
		}
	}
	if version != "" && version != strconv.FormatUint(old.version, 10) {
		return apierrors.NewConflict(c.kind.groupResource(), c.name, fmt.Errorf("%s", modified))
	}
	return nil
}

func (e *Edge) delete(c *call) *answer {
	var o metav1.DeleteOptions
	if len(c.body) > 0 {
		if err := json.Unmarshal(c.body, &o); err != nil {
			return refuse(apierrors.NewBadRequest("cannot read the delete options"))
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.collection(c.kind).get(c.namespace, c.name)
	if old == nil {
		return refuse(apierrors.NewNotFound(c.kind.groupResource(), c.name))
	}
	if p := o.Preconditions; p != nil {
		var uid, version string
		if p.UID != nil {
			uid = string(*p.UID)
		}
		if p.ResourceVersion != nil {
			version = *p.ResourceVersion
		}
		if err := e.precondition(c, old, uid, version); err != nil {
			return refuse(err)
		}
	}
	now := e.remove(old)
	if now.deleted > 0 || c.kind.returned {
		a := e.show(http.StatusOK, now, c.form)
		if now.deleted > 0 {
			e.react(now)
		}
		return a
	}
	return statusAnswer(&metav1.Status{
		Status:  metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: c.name, Group: c.kind.gvk.Group, Kind: c.kind.resource, UID: now.uidFor(e)},
	})
}
