package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/internal/link"
)

const rbacGroup = "/apis/rbac.authorization.k8s.io/v1"

// uninstall removes what the agent was installed with. Everything becomes a dependent of the agent's
// ClusterRoleBinding first, and the last request deletes that: whatever an agent leaves that dies in between
// still works, and does the rest when it starts again. The cluster's garbage collector removes the dependents.
func (s identities) uninstall(ctx context.Context) error {
	var binding rbacv1.ClusterRoleBinding
	err := s.kube.get(ctx, rbacGroup+"/clusterrolebindings/"+agentName, &binding)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return errors.Join(s.kube.delete(ctx, s.secrets()+"/"+link.EnrollmentSecret), s.kube.delete(ctx, s.secrets()+"/"+agentName))
	}
	if err != nil {
		return fmt.Errorf("cannot read the agent's ClusterRoleBinding: %w", err)
	}
	owned, err := json.Marshal(map[string]any{"metadata": map[string]any{"ownerReferences": []metav1.OwnerReference{{
		APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding", Name: binding.Name, UID: binding.UID,
	}}}})
	if err != nil {
		return fmt.Errorf("cannot encode: %w", err)
	}
	in := func(group, kind string) string {
		return group + "/namespaces/" + s.namespace + "/" + kind + "/" + agentName
	}
	bindings, err := s.roleBindings(ctx)
	if err != nil {
		return err
	}
	for _, path := range slices.Concat(bindings, []string{
		s.secrets() + "/" + link.EnrollmentSecret, s.secrets() + "/" + agentName,
		in("/apis/coordination.k8s.io/v1", "leases"), in("/apis/networking.k8s.io/v1", "networkpolicies"), in("/api/v1", "persistentvolumeclaims"), in("/api/v1", "configmaps"),
		in("/api/v1", "serviceaccounts"), in("/apis/apps/v1", "deployments"), rbacGroup + "/clusterroles/" + agentName,
	}) {
		if err := s.kube.patch(ctx, path, owned); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
			return fmt.Errorf("cannot prepare the removal of %s: %w", path, err)
		}
	}
	return s.kube.delete(ctx, rbacGroup+"/clusterrolebindings/"+agentName)
}

// roleBindings returns the paths of the agent's RoleBindings: one for each namespace that --namespaces named, now or at an
// earlier join. One that stayed would give its rights to the next agent, which has the same ServiceAccount.
func (s identities) roleBindings(ctx context.Context) ([]string, error) {
	var all rbacv1.RoleBindingList
	err := s.kube.list(ctx, rbacGroup+"/rolebindings", "app.kubernetes.io/name="+agentName, &all)
	if err != nil && !apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("cannot list the agent's RoleBindings: %w", err)
	}
	var paths []string
	for i := range all.Items {
		if b := &all.Items[i]; b.Name == agentName {
			paths = append(paths, rbacGroup+"/namespaces/"+b.Namespace+"/rolebindings/"+b.Name)
		}
	}
	return paths, nil
}
