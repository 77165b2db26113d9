package get

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// explain takes an error of cli-runtime apart, which joins them in a way of its own, and adds what to do; nil stays nil.
func (o *Options) explain(err error) error {
	if err == nil {
		return nil
	}
	if all, ok := errors.AsType[utilerrors.Aggregate](err); ok {
		err = errors.Join(utilerrors.Flatten(all).Errors()...)
	}
	if status := apierrors.APIStatus(nil); !errors.As(err, &status) {
		if missing := o.missingKind(); missing != nil {
			return missing
		}
		return err
	}
	switch {
	case !apierrors.IsNotFound(err), factory.NamespaceMissing(err):
		return err
	case len(o.Names) == 0:
		return factory.Next(err, "check that --kubeconfig and --context name the hub's API server; 'skerry check' tells what is there")
	}
	return factory.Next(err, "'skerry get %s' without a name lists those that there are, -A of all namespaces", strings.TrimSuffix(o.resources[0], group))
}

// missingKind returns an error for a kind that the API server does not have, which cli-runtime reports by its text alone;
// nil when it has all of them, or cannot be asked.
func (o *Options) missingKind() error {
	hub, err := o.Hub()
	if err != nil {
		return nil //nolint:nilerr // the error that there is has more
	}
	for _, resource := range o.resources {
		kind := v1alpha1.GroupVersion.WithResource(strings.TrimSuffix(resource, group))
		if _, err := hub.RESTMapper().KindFor(kind); meta.IsNoMatchError(err) {
			return fmt.Errorf("cannot list %s: %w", resource, err)
		}
	}
	return nil
}
