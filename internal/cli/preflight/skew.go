package preflight

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilversion "k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// MinorsApart is how many minor versions two parts of Skerry may lie apart, and how many one upgrade may go.
const MinorsApart = 2

// versionLabel is on all that is installed.
const versionLabel = "app.kubernetes.io/version"

// Upgrade refuses to install a version over an older or a much newer one, as far as the versions can be compared: a
// version that is no release is compared with nothing. allowDowngrade lets an older one take the place.
func Upgrade(ctx context.Context, c client.Client, wanted string, allowDowngrade bool) error {
	installed, err := installedVersion(ctx, c)
	if err != nil {
		return err
	}
	return upgrade(installed, wanted, allowDowngrade)
}

// upgrade is the rule of Upgrade.
func upgrade(installed, wanted string, allowDowngrade bool) error {
	from, err := utilversion.ParseSemantic(installed)
	to, err2 := utilversion.ParseSemantic(wanted)
	if err != nil || err2 != nil {
		return nil //nolint:nilerr // one of them is no release, or nothing is there
	}
	back := to.LessThan(from)
	low, high := from, to
	if back {
		low, high = to, from
	}
	switch far := low.Major() != high.Major() || high.Minor()-low.Minor() > MinorsApart; {
	case far && !back:
		return factory.Next(fmt.Errorf("the hub there is of version %s, and %s is more than %d minor versions newer", installed, wanted, MinorsApart),
			"upgrade in steps: first --version v%d.%d.0, with a command line of that version", from.Major(), from.Minor()+MinorsApart)
	case back && !allowDowngrade:
		return factory.Next(fmt.Errorf("the hub there is of version %s, and %s is older: its kinds may lack fields that are in use", installed, wanted),
			"use a command line of version %s; --allow-downgrade goes back all the same", installed)
	}
	return nil
}

// installedVersion is that of the hub's Deployment, or of its kinds where it runs elsewhere; "" of neither, and where
// neither may be read.
func installedVersion(ctx context.Context, c client.Client) (string, error) {
	hub := &metav1.PartialObjectMetadata{}
	hub.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
	kind := &metav1.PartialObjectMetadata{}
	kind.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	for _, look := range []struct {
		at   client.ObjectKey
		into *metav1.PartialObjectMetadata
	}{
		{client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: diagnose.HubName}, hub},
		{client.ObjectKey{Name: "kustomizations." + v1alpha1.Group}, kind},
	} {
		err := c.Get(ctx, look.at, look.into)
		switch {
		case err == nil && look.into.Labels[versionLabel] != "":
			return look.into.Labels[versionLabel], nil
		case err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) && !meta.IsNoMatchError(err):
			return "", fmt.Errorf("cannot read the version of the hub that is there: %w", err)
		}
	}
	return "", nil
}
