package fleetsim

import (
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// verb is what a request asks for, in the words of Kubernetes.
type verb uint8

const (
	verbOther verb = iota
	verbGet
	verbList
	verbWatch
	verbCreate
	verbUpdate
	verbPatch
	verbApply
	verbDelete
	verbs
)

var verbNames = [verbs]string{"other", "get", "list", "watch", "create", "update", "patch", "apply", "delete"}

func (v verb) String() string { return verbNames[v] }

func (v verb) writes() bool { return v >= verbCreate }

// call is a request that has been understood.
type call struct {
	*request
	verb            verb
	kind            *kind
	namespace, name string
	status          bool // of the status subresource
	query           url.Values
	form            form
}

func (c *call) parseQuery() (err error) {
	if c.request.query != "" {
		c.query, err = url.ParseQuery(c.request.query)
	}
	return err
}

// answer answers a request of a whole answer; a watch begins and returns nil.
func (e *Edge) answer(s *stream, r *request) (*call, *answer) {
	c := &call{request: r}
	if err := c.parseQuery(); err != nil {
		return c, refuse(apierrors.NewBadRequest(err.Error()))
	}
	if r.authorization != e.authorization {
		return c, refuse(apierrors.NewUnauthorized("Unauthorized"))
	}
	if r.tooLarge {
		return c, refuse(apierrors.NewRequestEntityTooLargeError("limit is 3145728"))
	}
	if a := e.discover(r); a != nil {
		return c, a
	}
	if !e.route(c) {
		return c, e.unknown(r.path)
	}
	var ok bool
	if c.form, ok = negotiate(r.accept); !ok {
		return c, generic(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable, "406: Not Acceptable\n\nAvailable representations: application/json")
	}
	switch c.verb {
	case verbGet:
		return c, e.get(c)
	case verbList:
		return c, e.list(c)
	case verbWatch:
		return c, e.watch(s, c)
	case verbCreate:
		return c, e.create(c)
	case verbUpdate, verbPatch, verbApply:
		return c, e.change(c)
	case verbDelete:
		return c, e.delete(c)
	default:
		return c, refuse(apierrors.NewMethodNotSupported(c.kind.groupResource(), r.method))
	}
}

// unknown answers a path that leads nowhere: of a group that is served in the way of Kubernetes, of
// others in that of HTTP.
func (e *Edge) unknown(path string) *answer {
	parts := strings.SplitN(path, "/", 5)
	for _, n := range []int{3, 4} {
		if len(parts) > n {
			if _, ok := e.fleet.kinds.versions[strings.Join(parts[:n], "/")]; ok {
				return generic(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
			}
		}
	}
	return notServed()
}

// route finds the kind and the object that a path leads to, and the verb.
func (e *Edge) route(c *call) bool {
	parts := strings.Split(strings.Trim(c.path, "/"), "/")
	var gv string
	switch {
	case len(parts) > 2 && parts[0] == "api":
		gv, parts = "/api/"+parts[1], parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		gv, parts = "/apis/"+parts[1]+"/"+parts[2], parts[3:]
	default:
		return false
	}
	if parts[0] == "namespaces" && len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize" {
		c.namespace, parts = parts[1], parts[2:]
	}
	if c.kind = e.find(gv, parts[0]); c.kind == nil || len(parts) > 3 || c.namespace != "" && !c.kind.namespaced {
		return false
	}
	if len(parts) > 1 {
		c.name = parts[1]
	}
	if len(parts) > 2 {
		if parts[2] != "status" || !c.kind.status {
			return false
		}
		c.status = true
	}
	if c.kind.namespaced && c.namespace == "" && c.name != "" {
		return false
	}
	c.verb = c.verbOf()
	return true
}

func (c *call) verbOf() verb {
	switch {
	case c.method == http.MethodGet && c.name == "" && isTrue(c.query.Get("watch")):
		return verbWatch
	case c.method == http.MethodGet && c.name == "":
		return verbList
	case c.method == http.MethodGet:
		return verbGet
	case c.method == http.MethodPost && c.name == "" && (c.namespace != "" || !c.kind.namespaced):
		return verbCreate
	case c.name == "":
		return verbOther
	case c.method == http.MethodPut:
		return verbUpdate
	case c.method == http.MethodPatch && (strings.HasPrefix(c.contentType, "application/apply-patch+yaml") || strings.HasPrefix(c.contentType, "application/apply-patch+cbor")):
		return verbApply
	case c.method == http.MethodPatch:
		return verbPatch
	case c.method == http.MethodDelete:
		return verbDelete
	}
	return verbOther
}

func isTrue(s string) bool { return s == "true" || s == "1" }

// manager is who a write is by: what the request says, or the program that sent it.
func (c *call) manager() string {
	if m := c.query.Get("fieldManager"); m != "" {
		return m
	}
	m, _, _ := strings.Cut(c.userAgent, "/")
	return m
}

// negotiate finds the first form among those that a client accepts that we can write.
func negotiate(accept string) (form, bool) {
	if accept == "" {
		return whole, true
	}
	for clause := range strings.SplitSeq(accept, ",") {
		media, parameters, _ := strings.Cut(strings.TrimSpace(clause), ";")
		if media != jsonType && media != "*/*" && media != "application/*" {
			continue
		}
		switch as := parameter(parameters, "as"); as {
		case "":
			return whole, true
		case "PartialObjectMetadata", "PartialObjectMetadataList":
			if parameter(parameters, "g") == metav1.GroupName && parameter(parameters, "v") == "v1" {
				return metadataOnly, true
			}
		}
	}
	return whole, false
}

func parameter(list, name string) string {
	for p := range strings.SplitSeq(list, ";") {
		if key, value, _ := strings.Cut(strings.TrimSpace(p), "="); key == name {
			return value
		}
	}
	return ""
}
