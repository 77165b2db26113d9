package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/drift"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/text"
)

// asMetadata asks for the answer to a write as metadata only: what we sent need not come back.
const asMetadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

// retries is how often a write is repeated that the cluster is too busy for at the moment.
const retries = 2

// Applied is what the cluster reports of an object that it has just taken.
type Applied struct {
	UID             string
	ResourceVersion string
	// Fields is read from its managed fields.
	Fields drift.Fields
	// Policy is what its metadata asks for.
	Policy object.Policy
	// Keep explains why the object must not be deleted; "" when it may be.
	Keep object.Keep
	// Created is false when the object was there.
	Created bool
	// Managed are its managed fields.
	Managed []metav1.ManagedFieldsEntry
}

// applied reads the answer to a write, which is the object's metadata.
func (c *Client) applied(raw []byte, id object.ID, manager string) (Applied, error) {
	got := &metadata{complete: true}
	d := newDecoder(bytes.NewReader(raw))
	defer d.release()
	if err := d.object(got); err != nil || got.UID == "" || !text.IsPrintable(got.UID, 128) || !text.IsPrintable(got.ResourceVersion, 64) {
		return Applied{}, fmt.Errorf("the answer is not an object's metadata")
	}
	policy, _ := object.PolicyOf(got.Labels, got.Annotations)
	return Applied{
		UID:             got.UID,
		ResourceVersion: got.ResourceVersion,
		Fields:          drift.ReadFields(got.ManagedFields, manager, policy.Mode == object.Merge, c.Ignored(manager, id)),
		Policy:          policy,
		Keep:            object.KeepOf(id, got.Labels, got.Annotations),
		Managed:         got.ManagedFields,
	}, nil
}

// patch begins a patch of an object, which is answered with its metadata. The API server is not asked to warn of fields that are
// there twice or that it does not know: for that it parses a server-side apply a second time, which is a tenth of its work.
// What is sent has each field once, and an unknown one is an error of a server-side apply.
func (c *Client) patch(how types.PatchType, m Mapping, id object.ID, manager string) *rest.Request {
	return c.rest.Patch(how).AbsPath(m.path(id.Namespace, id.Name)...).Param("fieldManager", manager).
		Param("fieldValidation", metav1.FieldValidationIgnore).SetHeader("Accept", asMetadata)
}

// Apply sends one server-side apply. Without force, a field that something else owns makes it a
// ConflictError and nothing is written.
func (c *Client) Apply(ctx context.Context, m Mapping, o object.Object, manager string, force bool) (Applied, error) {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return Applied{}, err
	}
	defer done()
	req := c.patch(types.ApplyPatchType, m, o.ID, manager).MaxRetries(retries).Body(o.Body)
	if force {
		req = req.Param("force", "true")
	}
	var code int
	res := req.Do(ctx).StatusCode(&code)
	raw, err := res.Raw()
	if err != nil {
		return Applied{}, apierror.Conflict(res.Error())
	}
	got, err := c.applied(raw, o.ID, manager)
	got.Created = code == http.StatusCreated
	return got, err
}

// DryRun asks what a server-side apply without force would answer, and writes nothing.
func (c *Client) DryRun(ctx context.Context, m Mapping, o object.Object, manager string) error {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return err
	}
	defer done()
	return apierror.Conflict(c.patch(types.ApplyPatchType, m, o.ID, manager).Param("dryRun", metav1.DryRunAll).Body(o.Body).Do(ctx).Error())
}

// Found is an object as it stands on the cluster, its metadata only.
type Found struct {
	Applied
	// Owner is the value of its owner label.
	Owner string
}

// Find reads the metadata of an object; nil when there is none.
func (c *Client) Find(ctx context.Context, m Mapping, id object.ID, manager string) (*Found, error) {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	res := c.rest.Get().AbsPath(m.path(id.Namespace, id.Name)...).SetHeader("Accept", asMetadata).Do(ctx)
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
	got, err := c.applied(raw, id, manager)
	if err != nil {
		return nil, err
	}
	f := &Found{Applied: got}
	var labeled struct {
		Metadata struct{ Labels map[string]string }
	}
	if err := json.Unmarshal(raw, &labeled); err != nil {
		return nil, fmt.Errorf("the answer is not an object's metadata")
	}
	f.Owner = labeled.Metadata.Labels[v1alpha1.OwnerLabel]
	return f, nil
}

// SetManaged writes the managed fields of an object that has not changed since a version. It is false
// when it has: then nothing is written.
func (c *Client) SetManaged(ctx context.Context, m Mapping, id object.ID, version string, managed []metav1.ManagedFieldsEntry, manager string) (Applied, bool, error) {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return Applied{}, false, err
	}
	defer done()
	// The API server answers a resourceVersion that is not the object's with a conflict.
	body, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": managed},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": version},
	})
	if err != nil {
		return Applied{}, false, fmt.Errorf("cannot encode managed fields: %w", err)
	}
	res := c.patch(types.JSONPatchType, m, id, manager).Body(body).Do(ctx)
	raw, err := res.Raw()
	if err != nil {
		err = res.Error() // which has read the answer
	}
	if absent(err) {
		return Applied{}, false, nil
	}
	if err != nil {
		return Applied{}, false, err
	}
	got, err := c.applied(raw, id, manager)
	return got, err == nil, err
}

// Creatable asks the API server whether it would take the object if it were created now, without
// creating it. That an object of the name exists already is no refusal, nor is what that object holds
// itself: a node port, an address, its share of a quota.
func (c *Client) Creatable(ctx context.Context, m Mapping, o object.Object, manager string) error {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return err
	}
	defer done()
	err = c.rest.Post().AbsPath(m.path(o.Namespace, "")...).Param("fieldManager", manager).Param("dryRun", metav1.DryRunAll).
		SetHeader("Content-Type", "application/json").SetHeader("Accept", asMetadata).Body(o.Body).Do(ctx).Error()
	if apierrors.IsAlreadyExists(err) || err != nil && held.MatchString(err.Error()) {
		return nil
	}
	return err
}

// held matches a refusal on account of what an object of the same name holds itself.
var held = regexp.MustCompile(`already allocated|exceeded quota`)

// Delete deletes the object that has the uid, and none other. It returns true when there is no such
// object (any more): gone, or replaced by one that is not ours. That the path is not served is an
// error, KindGone: it is no answer about the object.
func (c *Client) Delete(ctx context.Context, m Mapping, id object.ID, uid string) (bool, error) {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	background := metav1.DeletePropagationBackground
	u := types.UID(uid)
	body, err := json.Marshal(&metav1.DeleteOptions{
		TypeMeta:          metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"},
		Preconditions:     &metav1.Preconditions{UID: &u},
		PropagationPolicy: &background,
	})
	if err != nil {
		return false, fmt.Errorf("cannot encode delete options: %w", err)
	}
	err = c.rest.Delete().AbsPath(m.path(id.Namespace, id.Name)...).
		SetHeader("Content-Type", "application/json").SetHeader("Accept", asMetadata).Body(body).Do(ctx).Error()
	if absent(err) {
		return true, nil
	}
	return false, err
}

// absent reports whether an answer means that there is no object with the name and the uid.
func absent(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsNotFound(err) && !apierror.KindGone(err)
}

// Release takes the owner label off the object that has the uid and leaves the rest, so that
// something else may own it. An object that is gone, or is another one now, is released.
func (c *Client) Release(ctx context.Context, m Mapping, id object.ID, uid, manager string) error {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return err
	}
	defer done()
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":    uid,
		"labels": map[string]any{v1alpha1.OwnerLabel: nil},
	}})
	if err != nil {
		return fmt.Errorf("cannot encode release: %w", err)
	}
	err = c.patch(types.MergePatchType, m, id, manager).Body(body).Do(ctx).Error()
	if absent(err) || anotherOne(err) {
		return nil
	}
	return err
}

// anotherOne means that a patch that names a uid met an object with another: to the API server it tries
// to change the uid.
func anotherOne(err error) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !apierrors.IsInvalid(err) || status.ErrStatus.Details == nil {
		return false
	}
	return slices.ContainsFunc(status.ErrStatus.Details.Causes, func(c metav1.StatusCause) bool { return c.Field == "metadata.uid" })
}

// Identity identifies a cluster.
type Identity struct {
	// UID of the kube-system namespace.
	UID string
	// Version of the API server, "v1.36.3"; empty when only the uid was asked for.
	Version string
}

// Identify asks a cluster for its identity, in one request for the uid and one for the version.
func (c *Client) Identify(ctx context.Context, version bool) (Identity, error) {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return Identity{}, err
	}
	defer done()
	raw, err := c.rest.Get().MaxRetries(0).AbsPath("/api/v1/namespaces/kube-system").SetHeader("Accept", asMetadata).Do(ctx).Raw()
	if err != nil {
		return Identity{}, err
	}
	ns := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(raw, ns); err != nil || ns.UID == "" || !text.IsPrintable(string(ns.UID), 128) {
		return Identity{}, fmt.Errorf("%w: asked for the namespace kube-system", ErrNotAPI)
	}
	id := Identity{UID: string(ns.UID)}
	if !version {
		return id, nil
	}
	raw, err = c.rest.Get().AbsPath("/version").SetHeader("Accept", "application/json").Do(ctx).Raw()
	if err != nil {
		return Identity{}, err
	}
	var v struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return Identity{}, fmt.Errorf("%w: asked for its version", ErrNotAPI)
	}
	id.Version = health.Clean(v.GitVersion)
	return id, nil
}
