package apierror

import (
	"context"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
)

const hidden = "s3cr3t-value"

func invalid(kind string, causes ...*field.Error) error {
	return apierrors.NewInvalid(schema.GroupKind{Kind: kind}, "x", causes)
}

func conflictOf(fields ...string) error {
	err := apierrors.NewApplyConflict(nil, "Apply failed with conflicts")
	err.ErrStatus.Details = &metav1.StatusDetails{}
	for _, f := range fields {
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
			Type: metav1.CauseTypeFieldManagerConflict, Field: f, Message: `conflict with "kubectl-edit" using v1`,
		})
	}
	return err
}

func TestReasonAndExplain(t *testing.T) {
	secret := object.ID{Kind: "Secret", Namespace: "web", Name: "x"}
	web := object.ID{Group: "apps", Kind: "Deployment", Namespace: "web", Name: "x"}
	namespace := apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "web")
	namespace.ErrStatus.Details.Kind = "namespaces"
	for _, tc := range []struct {
		name         string
		err          error
		id           object.ID
		reason, want string
	}{
		{"a value of a Secret", invalid("Secret", field.Invalid(field.NewPath("data", "key"), hidden, "must be "+hidden)), secret, v1alpha1.ApplyFailedReason, "data.key: is not valid"},
		{"a field out of range", invalid("Deployment", field.Invalid(field.NewPath("spec", "replicas"), -1, "must be greater than or equal to 0")), web, v1alpha1.ApplyFailedReason, "spec.replicas: must be greater than or equal to 0"},
		{"a value beside the rule", invalid("Deployment", field.Invalid(field.NewPath("spec", "env"), hidden, "must be a name")), web, v1alpha1.ApplyFailedReason, "spec.env: must be a name"},
		{"an immutable field", invalid("Deployment", field.Invalid(field.NewPath("spec", "selector"), hidden, "field is immutable")), web, v1alpha1.ImmutableFieldReason, "spec.selector: is immutable"},
		{"a value that is not supported", invalid("Deployment", field.NotSupported(field.NewPath("spec", "type"), hidden, []string{"a", "b"})), web, v1alpha1.ApplyFailedReason, `spec.type: is not one of "a", "b"`},
		{"an admission that quotes a Secret", apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "x", fmt.Errorf("denied: %s", hidden)), secret, v1alpha1.ApplyFailedReason, "refused: Forbidden (403)"},
		{"a missing namespace", namespace, web, v1alpha1.NamespaceNotFoundReason, `namespace "web" does not exist`},
		{"another owner", Conflict(conflictOf(".metadata.labels.skerry.dev/owner", ".data.key")), web, v1alpha1.OwnershipConflictReason, "is owned by kubectl-edit"},
		{"another manager", Conflict(conflictOf(".data.key")), web, v1alpha1.ApplyFailedReason, "conflicts on .data.key owned by kubectl-edit"},
		{"a kind that is not there", &KindNotFoundError{schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"}}, web, v1alpha1.KindNotFoundReason, "the cluster does not know Thing of example.com/v1"},
		{"silence", context.DeadlineExceeded, web, v1alpha1.ApplyFailedReason, "the cluster did not answer in time"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Reason(tc.err, tc.id); got != tc.reason {
				t.Errorf("reason %s; want %s", got, tc.reason)
			}
			got := Explain(tc.err, tc.id)
			if got != tc.want || strings.Contains(got, hidden) {
				t.Errorf("explained as %q; want %q", got, tc.want)
			}
		})
	}
}

func TestUnanswered(t *testing.T) {
	for _, err := range []error{nil, apierrors.NewUnauthorized("no"), Conflict(conflictOf(".a")), &KindNotFoundError{}} {
		if Unanswered(err) {
			t.Errorf("%v is an answer", err)
		}
	}
	for _, err := range []error{context.DeadlineExceeded, fmt.Errorf("dial: %w", context.Canceled)} {
		if !Unanswered(err) {
			t.Errorf("%v is no answer", err)
		}
	}
}
