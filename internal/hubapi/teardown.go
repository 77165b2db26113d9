package hubapi

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// TearDown returns why the deletion of a subject goes with that of its namespace, of its kind or of the
// hub; "" when it stands alone. It asks the API server and not the cache, which may show the subject's
// deletion before that of its namespace. An error is no answer: nothing may be removed from an edge on
// the strength of it.
type TearDown func(ctx context.Context, s Subject) (why string, err error)

// Subject is a Kustomization or Cluster that is deleted or gone.
type Subject struct {
	Namespace string
	// Plural is the name of the kind: "kustomizations".
	Plural string
	// Created is when it was made, or what is left of it.
	Created time.Time
}

// definitions are the kinds without which the hub does not work.
var definitions = []string{"kustomizations", "clusters", "assignments", "gitrepositories"}

// hubName is the name of the hub's Deployment and of its ServiceAccount.
const hubName = "skerry-hub"

var definitionKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// NewTearDown returns the TearDown of a hub that is installed in a namespace.
func NewTearDown(direct Direct, hubNamespace string) TearDown {
	return func(ctx context.Context, s Subject) (string, error) {
		dependencies := dependenciesOf(s, hubNamespace)
		parts := make([]targeting.Part, len(dependencies))
		group, ctx := errgroup.WithContext(ctx)
		for i, n := range dependencies {
			group.Go(func() (err error) {
				parts[i], err = n.read(ctx, direct)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return "", err
		}
		return targeting.TornDown(s.Created, parts), nil
	}
}

// TornDown is the event of a Kustomization or Cluster that goes with something larger.
func TornDown(why string) report.Event {
	return report.Event{Warning: true, Reason: v1alpha1.TornDownReason, Message: "Let go without a change on any cluster, because " + why + "; what stands there stays"}
}

// TearDownUncertain is the event of a Kustomization or Cluster of which it is not known whether it goes with something
// larger: a right that the hub lacks would otherwise show in its log alone.
func TearDownUncertain(err error) report.Event {
	return report.Event{Warning: true, Reason: v1alpha1.FailedReason, Message: err.Error()}
}

// dependency is an object of the hub's own cluster that is looked at.
type dependency struct {
	kind    schema.GroupVersionKind
	key     types.NamespacedName
	needed  bool
	carries bool
}

func dependenciesOf(s Subject, hubNamespace string) []dependency {
	space := corev1.SchemeGroupVersion.WithKind("Namespace")
	list := []dependency{{space, types.NamespacedName{Name: s.Namespace}, true, true}}
	for _, plural := range definitions {
		name := types.NamespacedName{Name: plural + "." + v1alpha1.GroupVersion.Group}
		list = append(list, dependency{definitionKind, name, true, plural == s.Plural})
	}
	if hubNamespace != s.Namespace {
		list = append(list, dependency{space, types.NamespacedName{Name: hubNamespace}, false, false})
	}
	own := types.NamespacedName{Namespace: hubNamespace, Name: hubName}
	return append(list, dependency{corev1.SchemeGroupVersion.WithKind("ServiceAccount"), own, false, false}, dependency{appsv1.SchemeGroupVersion.WithKind("Deployment"), own, false, false})
}

func (n dependency) read(ctx context.Context, direct Direct) (targeting.Part, error) {
	part := targeting.Part{Name: "the " + strings.TrimPrefix(strings.ToLower(n.kind.Kind), "customresource") + " " + n.key.Name, Needed: n.needed, Carries: n.carries}
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(n.kind)
	err := direct.Get(ctx, n.key, meta)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err) && !n.needed && n.key.Namespace != "":
		return part, nil // a hub that is installed in its own way may not see its own Deployment
	case err != nil:
		return part, fmt.Errorf("cannot tell whether %s is being deleted, and removes nothing from any cluster until it can: %w", part.Name, err)
	}
	part.Found, part.Deleting, part.Created = true, !meta.DeletionTimestamp.IsZero(), meta.CreationTimestamp.Time
	return part, nil
}
