package factory

import (
	"context"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// fleetClient lists the kinds of which there is one a cluster as they arrive, and without the managed fields, which
// no command reads: a list of 10,000 is decoded while the API server still encodes it, and once, not three times.
type fleetClient struct {
	client.WithWatch
	rest rest.Interface
}

func newFleetClient(c client.WithWatch, cfg *rest.Config, via *http.Client) (*fleetClient, error) {
	cfg = rest.CopyConfig(cfg)
	version := v1alpha1.GroupVersion
	cfg.GroupVersion, cfg.APIPath, cfg.NegotiatedSerializer = &version, "/apis", scheme.Codecs.WithoutConversion()
	cfg.ContentConfig.AcceptContentTypes, cfg.ContentConfig.ContentType = "application/json", "application/json"
	to, err := rest.RESTClientForConfigAndClient(cfg, via)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", cfg.Host, err)
	}
	return &fleetClient{c, to}, nil
}

// List implements client.Reader.
func (c *fleetClient) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	switch to := list.(type) {
	case *v1alpha1.ClusterList:
		return listInto(ctx, c.rest, v1alpha1.ClusterKind, "clusters", &to.ListMeta, &to.Items, opts)
	case *v1alpha1.AssignmentList:
		return listInto(ctx, c.rest, v1alpha1.AssignmentKind, "assignments", &to.ListMeta, &to.Items, opts)
	}
	return c.WithWatch.List(ctx, list, opts...)
}

func listInto[T any](ctx context.Context, from rest.Interface, kind, plural string, head *metav1.ListMeta, items *[]T, opts []client.ListOption) error {
	o := client.ListOptions{}
	o.ApplyOptions(opts)
	body, err := from.Get().NamespaceIfScoped(o.Namespace, o.Namespace != "").Resource(plural).
		SpecificallyVersionedParams(o.AsListOptions(), scheme.ParameterCodec, metav1.Unversioned).Stream(ctx)
	if apierrors.IsNotFound(err) { // the kind itself
		return &meta.NoKindMatchError{GroupKind: v1alpha1.GroupVersion.WithKind(kind).GroupKind(), SearchedVersions: []string{v1alpha1.GroupVersion.Version}}
	}
	if err != nil {
		return err
	}
	defer body.Close()
	if err := decodeList(body, head, items); err != nil {
		return fmt.Errorf("cannot read the list of %s: %w", plural, err)
	}
	return nil
}

// withoutManagedFields passes over the managed fields of objects.
var withoutManagedFields = json.WithUnmarshalers(json.UnmarshalFromFunc(func(d *jsontext.Decoder, _ *[]metav1.ManagedFieldsEntry) error {
	return d.SkipValue()
}))

// decodeList decodes a list as it arrives.
func decodeList[T any](from io.Reader, head *metav1.ListMeta, items *[]T) error {
	d := jsontext.NewDecoder(from, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if token, err := d.ReadToken(); err != nil || token.Kind() != '{' {
		return errors.Join(err, errors.New("it is no object"))
	}
	*items = (*items)[:0]
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		switch name.String() {
		case "metadata":
			err = json.UnmarshalDecode(d, head)
		case "items":
			err = decodeItems(d, items)
		default:
			err = d.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

func decodeItems[T any](d *jsontext.Decoder, items *[]T) error {
	token, err := d.ReadToken()
	switch {
	case err != nil || token.Kind() == 'n':
		return err
	case token.Kind() != '[':
		return errors.New("its items are no list")
	}
	for d.PeekKind() == '{' {
		var item T
		if err := json.UnmarshalDecode(d, &item, withoutManagedFields); err != nil {
			return err
		}
		*items = append(*items, item)
	}
	_, err = d.ReadToken() // the end, or what is wrong
	return err
}
