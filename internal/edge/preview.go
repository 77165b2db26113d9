package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/drift"
	"github.com/skerry-dev/skerry/internal/object"
)

// Content is an object as it stands on the cluster, as a whole. Unlike everything else in this package it
// holds values: for a person who may read the object, never for a status or an event.
type Content struct {
	Found
	// Terminating means that it was deleted and waits for its finalizers.
	Terminating bool
	Object      map[string]any

	labels, annotations map[string]string
}

// Read reads an object as a whole; nil when there is none.
func (c *Client) Read(ctx context.Context, m Mapping, id object.ID, manager string) (*Content, error) {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	res := c.rest.Get().AbsPath(m.path(id.Namespace, id.Name)...).SetHeader("Accept", "application/json").Do(ctx)
	raw, err := res.Raw()
	if err != nil {
		err = res.Error() // which has read the answer
	}
	if apierrors.IsNotFound(err) && !apierror.KindGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return c.content(raw, id, manager)
}

// Owned reads the objects of a kind that carry an owner's label, as a whole. Lists do not name the kind of
// their items, which are given that of the mapping.
func (c *Client) Owned(ctx context.Context, m Mapping, owner string) (map[object.ID]*Content, error) {
	out, next := map[object.ID]*Content{}, ""
	for {
		p, err := c.ownedPage(ctx, m, owner, next)
		if err != nil {
			return nil, err
		}
		for _, raw := range p.Items {
			got, err := c.content(raw, object.ID{}, object.FieldManager(owner))
			if err != nil {
				return nil, err
			}
			got.Object["kind"], got.Object["apiVersion"] = m.GVK.Kind, m.GVK.GroupVersion().String()
			id := object.ID{Group: m.GVK.Group, Kind: m.GVK.Kind}
			meta, _ := got.Object["metadata"].(map[string]any)
			id.Namespace, _ = meta["namespace"].(string)
			id.Name, _ = meta["name"].(string)
			got.Keep = object.KeepOf(id, got.labels, got.annotations)
			got.Fields = drift.ReadFields(got.Managed, object.FieldManager(owner), got.Policy.Mode == object.Merge, c.Ignored(object.FieldManager(owner), id))
			if out[id] = got; len(out) > MaxObjects {
				return nil, ErrTooMany
			}
		}
		if next = p.Metadata.Continue; next == "" {
			return out, nil
		}
	}
}

func (c *Client) ownedPage(ctx context.Context, m Mapping, owner, next string) (*page, error) {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	req := c.rest.Get().AbsPath(root(m.GVK.GroupVersion()), m.Resource).SetHeader("Accept", "application/json").
		Param("labelSelector", v1alpha1.OwnerLabel+"="+owner).Param("limit", strconv.Itoa(listPage))
	if next != "" {
		req = req.Param("continue", next)
	}
	raw, err := rawOf(req.Do(ctx))
	if err != nil {
		return nil, err
	}
	p := &page{}
	if err := json.Unmarshal(raw, p); err != nil || !strings.HasSuffix(p.Kind, "List") {
		return nil, errNoList
	}
	return p, nil
}

// content reads an object that the cluster shows as a whole.
func (c *Client) content(raw []byte, id object.ID, manager string) (*Content, error) {
	got := &Content{}
	var err error
	if got.Applied, err = c.applied(raw, id, manager); err != nil {
		return nil, err
	}
	if got.Object, err = decodeObject(raw); err != nil {
		return nil, err
	}
	var meta struct {
		Metadata struct {
			Labels, Annotations map[string]string
			DeletionTimestamp   *string
		}
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, fmt.Errorf("the answer is not an object's metadata")
	}
	got.labels, got.annotations = meta.Metadata.Labels, meta.Metadata.Annotations
	got.Owner, got.Terminating = got.labels[v1alpha1.OwnerLabel], meta.Metadata.DeletionTimestamp != nil
	return got, nil
}

// Preview returns the object as it would stand after a server-side apply with force, and writes nothing.
func (c *Client) Preview(ctx context.Context, m Mapping, o object.Object, manager string) (map[string]any, error) {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	res := c.patch(types.ApplyPatchType, m, o.ID, manager).MaxRetries(retries).Param("force", "true").Param("dryRun", metav1.DryRunAll).
		SetHeader("Accept", "application/json").Body(o.Body).Do(ctx)
	raw, err := res.Raw()
	if err != nil {
		return nil, apierror.Conflict(res.Error())
	}
	return decodeObject(raw)
}

// decodeObject keeps the numbers of an object as they are written.
func decodeObject(raw []byte) (map[string]any, error) {
	var o map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&o); err != nil || o == nil {
		return nil, fmt.Errorf("%w: asked for an object", ErrNotAPI)
	}
	return o, nil
}
