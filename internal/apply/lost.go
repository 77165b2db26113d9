package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// InDoubtError says that a kind is not served, and that it is not certain that it is gone: its
// objects may be there, and be in sight again a moment later.
type InDoubtError struct {
	GVK schema.GroupVersionKind
	// Why is a phrase: "is defined, but not served".
	Why string
}

func (e *InDoubtError) Error() string {
	return fmt.Sprintf("%s of %s %s", e.GVK.Kind, e.GVK.GroupVersion(), e.Why)
}

const (
	definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	apiServices = "/apis/apiregistration.k8s.io/v1/apiservices"
	// automanaged is on each APIService that the API server made for a kind of its own.
	automanaged = "kube-aggregator.kubernetes.io/automanaged"

	asMetadataList = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	namesPage      = "500"
)

// Lost looks for a kind of which there were objects, and which Mapping does not find any more. "Not
// found" alone is no proof: an API server that starts says so of every definition that it has not
// read yet, and one that was upgraded may serve the kind in other versions only. It returns where the
// objects live, if that is known; a KindNotFoundError when nothing defines the kind any more, so that
// there can be no objects of it; an InDoubtError when something does, or when it cannot be seen.
func (c *Client) Lost(ctx context.Context, gvk schema.GroupVersionKind) (Mapping, error) {
	if m, found, err := c.otherVersion(ctx, gvk); found || err != nil {
		return m, err
	}
	if !strings.Contains(gvk.Group, ".") {
		return Mapping{}, &KindNotFoundError{gvk} // the API server's own: nothing defines it but its program
	}
	defined, err := c.defined(ctx, gvk)
	if err == nil && !defined {
		defined, err = c.aggregated(ctx, gvk.Group)
	}
	switch {
	case apierrors.IsForbidden(err):
		return Mapping{}, &InDoubtError{gvk, "is not served, and these credentials may not see whether it is still defined"}
	case err != nil:
		return Mapping{}, fmt.Errorf("cannot see whether %s is still defined: %w", gvk.GroupKind(), err)
	case defined:
		return Mapping{}, &InDoubtError{gvk, "is defined, but not served"}
	}
	return Mapping{}, &KindNotFoundError{gvk}
}

// otherVersion looks for the kind in the other versions of its group.
func (c *Client) otherVersion(ctx context.Context, gvk schema.GroupVersionKind) (Mapping, bool, error) {
	if gvk.Group == "" {
		return Mapping{}, false, nil
	}
	var group metav1.APIGroup
	err := c.read(ctx, "/apis/"+gvk.Group, "application/json", nil, &group)
	if apierrors.IsNotFound(err) {
		return Mapping{}, false, nil
	}
	if err != nil {
		return Mapping{}, false, fmt.Errorf("cannot discover %s: %w", gvk.Group, err)
	}
	for _, v := range group.Versions {
		if v.Version == gvk.Version {
			continue
		}
		m, err := c.Mapping(ctx, gvk.GroupKind().WithVersion(v.Version))
		if err == nil {
			return m, true, nil
		}
		if _, unknown := errors.AsType[*KindNotFoundError](err); !unknown {
			return Mapping{}, false, err
		}
	}
	return Mapping{}, false, nil
}

// defined says whether there is a definition of the kind. The name of one holds its plural and its
// group, so that only those of the group are read.
func (c *Client) defined(ctx context.Context, gvk schema.GroupVersionKind) (bool, error) {
	all, err := c.names(ctx, definitions)
	if err != nil {
		return false, err
	}
	for _, o := range all {
		if _, group, _ := strings.Cut(o.Name, "."); group != gvk.Group {
			continue
		}
		var crd struct {
			Spec struct {
				Names struct{ Kind string }
			}
		}
		err := c.read(ctx, definitions+"/"+o.Name, "application/json", nil, &crd)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil || crd.Spec.Names.Kind == gvk.Kind {
			return err == nil, err
		}
	}
	return false, nil
}

// aggregated says whether another server is registered for a group.
func (c *Client) aggregated(ctx context.Context, group string) (bool, error) {
	all, err := c.names(ctx, apiServices)
	if apierrors.IsNotFound(err) {
		return false, nil // an API server that does not aggregate
	}
	for _, o := range all {
		_, of, _ := strings.Cut(o.Name, ".")
		if _, own := o.Labels[automanaged]; of == group && !own {
			return true, nil
		}
	}
	return false, err
}

// names lists the metadata of all objects below a path.
func (c *Client) names(ctx context.Context, path string) ([]metav1.PartialObjectMetadata, error) {
	var all []metav1.PartialObjectMetadata
	params := map[string]string{"limit": namesPage}
	for {
		var page metav1.PartialObjectMetadataList
		if err := c.read(ctx, path, asMetadataList, params, &page); err != nil {
			return nil, err
		}
		if page.Kind != "PartialObjectMetadataList" { // a page of something else would be an empty list
			return nil, fmt.Errorf("the answer is not a list of metadata")
		}
		all = append(all, page.Items...)
		if page.Continue == "" {
			return all, nil
		}
		params["continue"] = page.Continue
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
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return err
	}
	defer done()
	req := c.rest.Get().AbsPath(path).SetHeader("Accept", accept)
	for name, value := range params {
		req = req.Param(name, value)
	}
	raw, err := rawOf(req.Do(ctx))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("the answer is not what was asked for: %w", err)
	}
	return nil
}
