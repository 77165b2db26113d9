package edge

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/inventory"
)

// stub is as much of an API server as inventories, claims and their removal need: it keeps objects by path,
// with uids and resource versions, and holds to preconditions.
type stub struct {
	mu      sync.Mutex
	version int
	objects map[string]*unstructured.Unstructured // by path
	log     []string                              // "METHOD path" of each request
	// before is called with each request, under no lock; an error is the answer.
	before func(method, path string) *apierrors.StatusError
}

// newStub starts a stub and a client of it.
func newStub(t *testing.T) (*stub, *Client) {
	t.Helper()
	s := &stub{version: 100, objects: map[string]*unstructured.Unstructured{}}
	return s, clientOf(t, s.serve)
}

func (s *stub) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.log = append(s.log, r.Method+" "+r.URL.Path)
	before := s.before
	s.mu.Unlock()
	if before != nil {
		if err := before(r.Method, r.URL.Path); err != nil {
			answer(w, int(err.ErrStatus.Code), err.ErrStatus)
			return
		}
	}
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	code, out := s.handle(r, body)
	answer(w, code, out)
}

func answer(w http.ResponseWriter, code int, out any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(out)
}

func refused(err *apierrors.StatusError) (int, any) {
	err.ErrStatus.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	return int(err.ErrStatus.Code), err.ErrStatus
}

// handle answers a request. The lock is held.
func (s *stub) handle(r *http.Request, body []byte) (int, any) {
	resource := schema.GroupResource{Resource: path.Base(r.URL.Path)}
	one := s.objects[r.URL.Path]
	switch {
	case r.Method == http.MethodPost:
		u := &unstructured.Unstructured{}
		if err := json.Unmarshal(body, &u.Object); err != nil {
			return refused(apierrors.NewBadRequest(err.Error()))
		}
		at := r.URL.Path + "/" + u.GetName()
		if s.objects[at] != nil {
			return refused(apierrors.NewAlreadyExists(resource, u.GetName()))
		}
		return http.StatusCreated, s.store(at, u).Object
	case r.Method == http.MethodGet && one != nil:
		return http.StatusOK, one.Object
	case r.Method == http.MethodGet && resource.Resource == "configmaps":
		return s.list(r)
	case one == nil:
		return refused(apierrors.NewNotFound(schema.GroupResource{Resource: path.Base(path.Dir(r.URL.Path))}, path.Base(r.URL.Path)))
	case r.Method == http.MethodPut:
		u := &unstructured.Unstructured{}
		if err := json.Unmarshal(body, &u.Object); err != nil {
			return refused(apierrors.NewBadRequest(err.Error()))
		}
		if u.GetResourceVersion() != one.GetResourceVersion() {
			return refused(apierrors.NewConflict(resource, u.GetName(), fmt.Errorf("the object has been modified")))
		}
		u.SetUID(one.GetUID())
		return http.StatusOK, s.store(r.URL.Path, u).Object
	case r.Method == http.MethodDelete:
		var o metav1.DeleteOptions
		if len(body) > 0 && json.Unmarshal(body, &o) == nil && o.Preconditions != nil && o.Preconditions.UID != nil && *o.Preconditions.UID != one.GetUID() {
			return refused(apierrors.NewConflict(resource, one.GetName(), fmt.Errorf("the UID in the precondition does not match")))
		}
		delete(s.objects, r.URL.Path)
		s.version++
		return http.StatusOK, metav1.Status{Status: metav1.StatusSuccess}
	}
	return refused(apierrors.NewMethodNotSupported(resource, r.Method))
}

// store keeps an object under a path. The lock is held.
func (s *stub) store(at string, u *unstructured.Unstructured) *unstructured.Unstructured {
	s.version++
	u.SetResourceVersion(strconv.Itoa(s.version))
	if u.GetUID() == "" {
		u.SetUID(types.UID(fmt.Sprintf("uid-%d", s.version)))
	}
	s.objects[at] = u
	return u
}

func (s *stub) list(r *http.Request) (int, any) {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		return refused(apierrors.NewBadRequest(err.Error()))
	}
	items := []any{}
	for _, at := range s.paths() {
		if u := s.objects[at]; path.Dir(at) == r.URL.Path && selector.Matches(labels.Set(u.GetLabels())) {
			items = append(items, u.Object)
		}
	}
	kind := "ConfigMapList"
	if strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadataList") {
		kind = "PartialObjectMetadataList"
	}
	return http.StatusOK, map[string]any{"kind": kind, "metadata": map[string]any{"resourceVersion": strconv.Itoa(s.version)}, "items": items}
}

// paths returns the paths of all objects, sorted. The lock is held.
func (s *stub) paths() []string {
	var all []string
	for at := range s.objects {
		all = append(all, at)
	}
	slices.Sort(all)
	return all
}

// names returns the names of the ConfigMaps, sorted.
func (s *stub) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, at := range s.paths() {
		if path.Dir(at) == configMaps {
			names = append(names, path.Base(at))
		}
	}
	return names
}

// edit changes a ConfigMap as something else than the client would; the name may be of a new one.
func (s *stub) edit(name string, change func(*unstructured.Unstructured)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.objects[configMaps+"/"+name]
	if u == nil {
		u = &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}}
		u.SetName(name)
		u.SetNamespace(v1alpha1.SystemNamespace)
	}
	u = u.DeepCopy()
	change(u)
	s.store(configMaps+"/"+name, u)
}

// drop deletes a ConfigMap as something else than the client would.
func (s *stub) drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, configMaps+"/"+name)
	s.version++
}

// takeLog returns the requests that are not reads, and forgets all.
func (s *stub) takeLog() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var writes []string
	for _, line := range s.log {
		if !strings.HasPrefix(line, http.MethodGet) {
			writes = append(writes, strings.Replace(line, configMaps, "", 1))
		}
	}
	s.log = nil
	return writes
}

func (s *stub) setBefore(f func(method, path string) *apierrors.StatusError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// recorded returns how many objects the shard in a ConfigMap holds; -1 when it is none. The lock is held.
func (s *stub) recorded(name string) int {
	text, _, _ := unstructured.NestedString(s.objects[configMaps+"/"+name].Object, "binaryData", shardKey)
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return -1
	}
	owner, _ := inventoryOwner(name)
	inv, err := inventory.Decode(owner, [][]byte{data})
	if err != nil {
		return -1
	}
	return len(inv.Objects)
}
