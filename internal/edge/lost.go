package edge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/text"
)

const (
	definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	apiServices = "/apis/apiregistration.k8s.io/v1/apiservices"
	// automanaged is on each APIService that the API server made for a kind of its own.
	automanaged = "kube-aggregator.kubernetes.io/automanaged"

	asMetadataList = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	namesPage      = "500"
)

// maxDefinitions bounds the definitions, and the APIServices, that are looked through for one kind.
const maxDefinitions = 20_000

// Discovery looks closer at kinds that Mapping does not find. It asks for each group, and for the list
// of definitions, once: make one for each pass. It is not safe for concurrent use.
type Discovery struct {
	client *Client
	groups map[string]*metav1.APIGroup         // nil: not served
	kinds  map[string]map[string]bool          // group → kinds that are defined
	served map[schema.GroupVersion]*APIService // nil: there is none
	names  []string                            // of all definitions
	listed bool
}

// Discovery returns a Discovery that has asked for nothing yet.
func (c *Client) Discovery() *Discovery {
	return &Discovery{
		client: c, groups: map[string]*metav1.APIGroup{}, kinds: map[string]map[string]bool{},
		served: map[schema.GroupVersion]*APIService{},
	}
}

// Lost looks for a kind of which there were objects, and which Mapping does not find any more. "Not
// found" alone is no proof: an API server that starts answers so for every definition that it has not
// read yet, and one that was upgraded may serve the kind in other versions only. It returns where the
// objects live, if that is known; a KindNotFoundError when nothing defines the kind any more, so that
// there can be no objects of it; an UncertainKindError when something does, or when it cannot be seen.
func (d *Discovery) Lost(ctx context.Context, gvk schema.GroupVersionKind) (Mapping, error) {
	if m, found, err := d.otherVersion(ctx, gvk); found || err != nil {
		return m, err
	}
	if !strings.Contains(gvk.Group, ".") {
		return Mapping{}, &apierror.KindNotFoundError{GVK: gvk} // the API server's own: nothing defines it but its program
	}
	defined, err := d.defined(ctx, gvk)
	if err == nil && !defined {
		defined, err = d.aggregated(ctx, gvk.Group)
	}
	switch {
	case apierrors.IsForbidden(err):
		return Mapping{}, &apierror.UncertainKindError{GVK: gvk, Why: "is not served, and these credentials may not see whether it is still defined"}
	case err != nil:
		return Mapping{}, fmt.Errorf("cannot see whether %s is still defined: %w", gvk.GroupKind(), err)
	case defined:
		return Mapping{}, &apierror.UncertainKindError{GVK: gvk, Why: "is defined, but not served"}
	}
	return Mapping{}, &apierror.KindNotFoundError{GVK: gvk}
}

// MappingOfAnyVersion is Mapping, and where the cluster does not serve the version of the kind, the place of its
// objects in another one.
func (c *Client) MappingOfAnyVersion(ctx context.Context, gvk schema.GroupVersionKind) (Mapping, error) {
	m, err := c.Mapping(ctx, gvk)
	if _, unknown := errors.AsType[*apierror.KindNotFoundError](err); !unknown {
		return m, err
	}
	other, found, failed := c.Discovery().otherVersion(ctx, gvk)
	switch {
	case failed != nil:
		return Mapping{}, failed
	case found:
		return other, nil
	}
	return Mapping{}, err
}

// otherVersion looks for the kind in the other versions of its group.
func (d *Discovery) otherVersion(ctx context.Context, gvk schema.GroupVersionKind) (Mapping, bool, error) {
	if gvk.Group == "" {
		return Mapping{}, false, nil
	}
	group, err := d.group(ctx, gvk.Group)
	if group == nil || err != nil {
		return Mapping{}, false, err
	}
	for _, v := range group.Versions {
		if v.Version == gvk.Version {
			continue
		}
		m, err := d.client.Mapping(ctx, gvk.GroupKind().WithVersion(v.Version))
		if err == nil {
			return m, true, nil
		}
		if _, unknown := errors.AsType[*apierror.KindNotFoundError](err); !unknown {
			return Mapping{}, false, err
		}
	}
	return Mapping{}, false, nil
}

// group returns the versions in which a group is served; nil when it is in none.
func (d *Discovery) group(ctx context.Context, name string) (*metav1.APIGroup, error) {
	if group, asked := d.groups[name]; asked {
		return group, nil
	}
	group := &metav1.APIGroup{}
	err := d.client.read(ctx, "/apis/"+name, "application/json", nil, group)
	switch {
	case apierrors.IsNotFound(err):
		group = nil
	case err != nil:
		return nil, fmt.Errorf("cannot discover %s: %w", name, err)
	case slices.ContainsFunc(group.Versions, func(v metav1.GroupVersionForDiscovery) bool { return !text.IsPrintable(v.Version, maxName) }):
		return nil, fmt.Errorf("cannot discover %s: %w: a version", name, errLongName)
	}
	d.groups[name] = group
	return group, nil
}

// defined reports whether there is a definition of the kind. The name of one holds its plural and its
// group, so that only those of the group are read.
func (d *Discovery) defined(ctx context.Context, gvk schema.GroupVersionKind) (bool, error) {
	if kinds, read := d.kinds[gvk.Group]; read {
		return kinds[gvk.Kind], nil
	}
	if !d.listed {
		var names []string
		err := d.client.names(ctx, definitions, func(o *listedName) { names = append(names, o.Metadata.Name) })
		if err != nil {
			return false, err
		}
		d.names, d.listed = names, true
	}
	kinds := map[string]bool{}
	for _, name := range d.names {
		if _, group, _ := strings.Cut(name, "."); group != gvk.Group {
			continue
		}
		var crd struct {
			Spec struct {
				Names struct{ Kind string }
			}
		}
		err := d.client.read(ctx, definitions+"/"+name, "application/json", nil, &crd)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return false, err
		}
		if !text.IsPrintable(crd.Spec.Names.Kind, maxName) {
			return false, fmt.Errorf("%w: the kind of a definition", errLongName)
		}
		kinds[crd.Spec.Names.Kind] = true
	}
	d.kinds[gvk.Group] = kinds
	return kinds[gvk.Kind], nil
}

// aggregated reports whether another server is registered for a group.
func (d *Discovery) aggregated(ctx context.Context, group string) (bool, error) {
	found := false
	err := d.client.names(ctx, apiServices, func(o *listedName) {
		_, of, _ := strings.Cut(o.Metadata.Name, ".")
		if _, own := o.Metadata.Labels[automanaged]; of == group && !own {
			found = true
		}
	})
	if apierrors.IsNotFound(err) {
		return false, nil // an API server that does not aggregate
	}
	return found, err
}

// APIService is a version of a group that another server serves, behind the API server.
type APIService struct {
	Name string
	// Message explains why it is not available; empty when it is, as far as the API server knows.
	Message string
}

// Aggregated returns the APIService of a version of a group that another server serves; nil when the
// API server serves it itself.
func (d *Discovery) Aggregated(ctx context.Context, gv schema.GroupVersion) (*APIService, error) {
	if !strings.Contains(gv.Group, ".") {
		return nil, nil //nolint:nilnil // nil is an answer
	}
	if s, asked := d.served[gv]; asked {
		return s, nil
	}
	var found struct {
		Spec struct {
			Service *struct{ Name string }
		}
		Status struct{ Conditions []metav1.Condition }
	}
	name := gv.Version + "." + gv.Group
	err := d.client.read(ctx, apiServices+"/"+name, "application/json", nil, &found)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	var s *APIService
	if found.Spec.Service != nil {
		s = &APIService{Name: name}
		for _, c := range found.Status.Conditions {
			if c.Type == "Available" && c.Status != metav1.ConditionTrue {
				s.Message = health.Clean(c.Message)
			}
		}
	}
	d.served[gv] = s
	return s, nil
}

// listedName is what is read of an object in a list of names.
type listedName struct {
	Metadata struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
}

// names calls a function for each object below a path, page by page, and keeps nothing. A name that no object can
// have is an error: what is too long to keep cannot be passed over either, or a kind that is defined would be gone.
func (c *Client) names(ctx context.Context, path string, take func(*listedName)) error {
	params := map[string]string{"limit": namesPage}
	for n, pages := 0, 1; ; pages++ {
		var page struct {
			Kind     string          `json:"kind"`
			Metadata metav1.ListMeta `json:"metadata"`
			Items    []listedName    `json:"items"`
		}
		if err := c.read(ctx, path, asMetadataList, params, &page); err != nil {
			return err
		}
		if page.Kind != "PartialObjectMetadataList" { // a page of something else would be an empty list
			return fmt.Errorf("the answer is not a list of metadata")
		}
		for i := range page.Items {
			if !text.IsPrintable(page.Items[i].Metadata.Name, maxName) {
				return fmt.Errorf("%w: the name of a definition", errLongName)
			}
			take(&page.Items[i])
		}
		if n += len(page.Items); n > maxDefinitions || pages > maxPages {
			return fmt.Errorf("%w: it shows more than %d definitions", ErrTooLarge, maxDefinitions)
		}
		if page.Metadata.Continue == "" {
			return nil
		}
		params["continue"] = page.Metadata.Continue
	}
}

// rawOf returns the body of an answer, or the error in the API server's own words, which Raw does not read.
func rawOf(res rest.Result) ([]byte, error) {
	raw, err := res.Raw()
	if err != nil {
		return nil, res.Error()
	}
	return raw, nil
}

// read sends one GET and decodes the answer.
func (c *Client) read(ctx context.Context, path, accept string, params map[string]string, into any) error {
	req := c.rest.Get().AbsPath(path).SetHeader("Accept", accept)
	for name, value := range params {
		req = req.Param(name, value)
	}
	return c.discovery(ctx, req, into)
}
