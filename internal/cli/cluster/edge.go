package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/preflight"
	"github.com/skerry-dev/skerry/internal/cli/wait"
	edgeapply "github.com/skerry-dev/skerry/internal/edge"
)

// account is what the hub is called on an edge: ServiceAccount, binding and, with "-token", Secret.
const account = edgeapply.AccountBinding

// edge is the cluster that joins, reached with the credentials of the person who joins it.
type edge struct {
	client client.WithWatch
	config *rest.Config
	// cluster and user are what the context leads to, with files read in.
	cluster *clientcmdapi.Cluster
	user    *clientcmdapi.AuthInfo
	// server is the address at which the hub is to reach it.
	server string
	uid    string
}

// loadEdge reads the kubeconfig of the edge. It asks nothing of the edge.
func loadEdge(o *Options) (*edge, error) {
	from, err := factory.FromKubeconfig(o.FromKubeconfig, o.FromContext)
	if err != nil {
		return nil, err
	}
	e := &edge{config: from.Config, cluster: from.Cluster, user: from.User, server: cmp.Or(o.Server, from.Cluster.Server)}
	if e.client, err = o.Connect(from.Config); err != nil {
		return nil, err
	}
	return e, nil
}

// reach asks the edge who it is.
func (e *edge) reach(ctx context.Context, s *factory.Step) error {
	version, err := preflight.Version(ctx, e.config)
	if err != nil {
		return factory.EdgeError(err)
	}
	ns := &corev1.Namespace{}
	if err := e.client.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, ns); err != nil {
		return factory.EdgeError(fmt.Errorf("cannot read the namespace kube-system, whose uid tells clusters apart: %w", err))
	}
	e.uid = string(ns.UID)
	s.Donef("Kubernetes %s at %s", version, e.config.Host)
	return nil
}

// reachForHub asks the edge who it is, and warns where its address is not one for a hub that is to dial it.
func (e *edge) reachForHub(ctx context.Context, s *factory.Step) error {
	if u, err := url.Parse(e.server); err == nil && isLoopback(u.Hostname()) {
		s.Notef("%s leads to this machine: a hub elsewhere needs another address, see --server", e.server)
	}
	return e.reach(ctx, s)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// serviceAccountToken makes the hub's account on the edge, and returns its token and the authority
// that the edge hands out with it. The token is one that does not expire and goes with its Secret:
// an edge may be cut off for longer than any other token lives.
//
// The account is owned by its binding, and the token by the account. So the hub that leaves the edge
// deletes the binding with the last right that it has, and the edge itself clears up the rest.
func (e *edge) serviceAccountToken(ctx context.Context, o *Options, s *factory.Step) (token, ca []byte, err error) {
	part := map[string]string{edgeapply.PartLabel: edgeapply.PartAccount}
	rights := []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace}}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account, Labels: part},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: systemNamespace, Name: account}},
	}
	if len(o.Agent.Namespaces) > 0 {
		binding.RoleRef.Name = account
		rights = append(rights, limitedRole(part, nil))
	}
	if err := e.apply(ctx, s, append(rights, binding)...); err != nil {
		return nil, nil, err
	}
	made := &rbacv1.ClusterRoleBinding{}
	if err := e.client.Get(ctx, client.ObjectKey{Name: account}, made); err != nil {
		return nil, nil, factory.EdgeError(fmt.Errorf("cannot read what was made: %w", err))
	}
	owned := []metav1.OwnerReference{{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding", Name: account, UID: made.UID}}
	user := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: account, Labels: part, OwnerReferences: owned}}
	if err := e.apply(ctx, s, append(limitedBindings(o.Agent.Namespaces, owned, part), user)...); err != nil {
		return nil, nil, err
	}
	if o.TokenLifetime > 0 {
		token, err := e.requestToken(ctx, o, user)
		return token, e.config.CAData, err
	}
	return e.lastingToken(ctx, s, part)
}

// limitedRole is what the hub needs beside the namespaces that it works in: to know the cluster by its uid, and to take
// its own rights away at the end.
func limitedRole(part map[string]string, owned []metav1.OwnerReference) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: account, Labels: part, OwnerReferences: owned}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, ResourceNames: []string{metav1.NamespaceSystem}, Verbs: []string{"get"}},
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterrolebindings"}, ResourceNames: []string{account}, Verbs: []string{"get", "delete"}},
	}}
}

// limitedBindings make the hub an administrator of namespaces, and let it keep its records in its own.
func limitedBindings(namespaces []string, owned []metav1.OwnerReference, part map[string]string) []client.Object {
	if len(namespaces) == 0 {
		return nil
	}
	meta := func(namespace string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: account, Labels: part, OwnerReferences: owned}
	}
	bind := func(namespace, kind, role string) client.Object {
		return &rbacv1.RoleBinding{
			ObjectMeta: meta(namespace), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: systemNamespace, Name: account}},
		}
	}
	out := []client.Object{
		limitedRole(part, owned),
		&rbacv1.Role{ObjectMeta: meta(systemNamespace), Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list", "watch", "create", "update", "delete"}},
			{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{account}, Verbs: []string{"create"}},
		}},
		bind(systemNamespace, "Role", account),
	}
	for _, namespace := range namespaces {
		out = append(out, bind(namespace, "ClusterRole", "cluster-admin"))
	}
	return out
}

// requestToken returns a token that expires. One that does not, of an earlier join, ends.
func (e *edge) requestToken(ctx context.Context, o *Options, user *corev1.ServiceAccount) ([]byte, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(o.TokenLifetime.Seconds()))}}
	if err := e.client.SubResource("token").Create(ctx, user, request); err != nil {
		return nil, factory.EdgeError(fmt.Errorf("cannot request a token: %w", err))
	}
	lasting := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: account + "-token"}}
	if err := e.client.Delete(ctx, lasting); client.IgnoreNotFound(err) != nil {
		return nil, factory.EdgeError(fmt.Errorf("cannot delete the former token: %w", err))
	}
	return []byte(request.Status.Token), nil
}

// lastingToken returns the token of a Secret, which does not expire.
func (e *edge) lastingToken(ctx context.Context, s *factory.Step, part map[string]string) (token, ca []byte, err error) {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: systemNamespace, Name: account + "-token", Labels: part,
			Annotations: map[string]string{corev1.ServiceAccountNameKey: account},
		},
		Type: corev1.SecretTypeServiceAccountToken,
	}
	if err := e.apply(ctx, s, secret); err != nil {
		return nil, nil, err
	}
	err = wait.Until(ctx, e.client, []client.Object{secret}, func() (bool, error) {
		if len(secret.Data[corev1.ServiceAccountTokenKey]) == 0 {
			s.Notef("waiting for the edge's controller manager to issue the token")
			return false, nil
		}
		return true, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, nil, factory.Next(errors.New("the edge issued no token for the ServiceAccount "+account),
			"check that its kube-controller-manager runs, or store the kubeconfig's own credentials with --use-credentials")
	}
	if err != nil {
		return nil, nil, factory.EdgeError(err)
	}
	return secret.Data[corev1.ServiceAccountTokenKey], secret.Data[corev1.ServiceAccountRootCAKey], nil
}

func (e *edge) apply(ctx context.Context, s *factory.Step, objects ...client.Object) error {
	var manifests []*unstructured.Unstructured
	for _, o := range objects {
		m, err := apply.FromTyped(e.client.Scheme(), o)
		if err != nil {
			return err
		}
		manifests = append(manifests, m)
	}
	if err := apply.All(ctx, e.client, manifests, s); err != nil {
		return factory.EdgeError(err)
	}
	return nil
}
