package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/wait"
)

// checkHub refuses what the hub would refuse, before anything is made on the edge.
func checkHub(ctx context.Context, o *Options, hub *factory.Hub, edge *edge, s *factory.Step) error {
	ns := &corev1.Namespace{}
	if err := hub.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, ns); err != nil && !apierrors.IsForbidden(err) {
		return fmt.Errorf("cannot read the hub's namespace kube-system: %w", err)
	}
	if string(ns.UID) == edge.uid {
		return factory.Next(errors.New("--from-kubeconfig leads to the hub's own cluster"),
			"the Cluster named %q stands for it, and what has no spec.clusters goes there", v1alpha1.HubCluster)
	}
	// Who may only see one namespace does not learn of the others; the hub will report DuplicateCluster.
	clusters := &v1alpha1.ClusterList{}
	if err := hub.List(ctx, clusters); err != nil && !apierrors.IsForbidden(err) {
		return fmt.Errorf("cannot list the hub's clusters: %w", err)
	}
	for i := range clusters.Items {
		c := &clusters.Items[i]
		if c.Name == o.Name && c.Namespace == o.Flags.Namespace {
			if !c.DeletionTimestamp.IsZero() {
				return factory.Next(fmt.Errorf("the cluster %s is being removed", o.Name), "wait until it is gone: 'skerry cluster remove %s --wait'", o.Name)
			}
			if c.Spec.Agent != nil && !o.Agent.Enabled {
				s.Notef("the hub reaches %s itself from now on; its agent rests, and may be deleted: kubectl -n %s delete deployment skerry-agent", o.Name, systemNamespace)
			}
			continue
		}
		if c.Status.UID == edge.uid && o.Shared && c.Spec.Sharing == v1alpha1.SharingShared {
			continue
		}
		if c.Status.UID == edge.uid {
			return factory.Next(fmt.Errorf("this cluster is there already, as %s in namespace %s", c.Name, c.Namespace), "delete that Cluster first, or join under its name")
		}
	}
	s.Donef("%s", hub.Config.Host)
	return nil
}

func secretName(o *Options) string { return o.Name + "-kubeconfig" }

func secretOf(o *Options, kubeconfig []byte) *corev1.Secret {
	var annotations map[string]string
	if o.TokenLifetime > 0 {
		annotations = map[string]string{v1alpha1.RenewTokenAnnotation: "enabled"}
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.Flags.Namespace, Name: secretName(o), Annotations: annotations},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{"value": kubeconfig},
	}
}

func clusterOf(o *Options, w wanted) *v1alpha1.Cluster {
	return &v1alpha1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.Flags.Namespace, Name: o.Name, Labels: w.labels.on(nil)},
		Spec: v1alpha1.ClusterSpec{
			KubeConfig: &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: secretName(o)}},
			Vars:       typedVars(w.vars.on(nil)),
			Namespaces: o.Agent.Namespaces,
			Sharing:    sharing(o),
		},
	}
}

func sharing(o *Options) v1alpha1.ClusterSharing {
	if o.Shared {
		return v1alpha1.SharingShared
	}
	return ""
}

func typedVars(vars map[string]string) map[string]v1alpha1.VarValue {
	if len(vars) == 0 {
		return nil
	}
	out := map[string]v1alpha1.VarValue{}
	for k, v := range vars {
		out[k] = v1alpha1.VarValue(v)
	}
	return out
}

// join writes Secret and Cluster on the hub: first the Secret, so that the hub never sees a Cluster
// without one. The Cluster then owns the Secret, which goes with it.
func join(ctx context.Context, o *Options, hub *factory.Hub, w wanted, kubeconfig []byte, s *factory.Step) error {
	secret, err := apply.FromTyped(hub.Scheme(), secretOf(o, kubeconfig))
	if err != nil {
		return err
	}
	result, err := apply.Object(ctx, hub, secret)
	if err != nil {
		return err
	}
	outcome, err := writeCluster(ctx, o, hub, w)
	if err != nil {
		return err
	}
	live := &v1alpha1.Cluster{}
	if err := hub.Get(ctx, client.ObjectKey{Namespace: o.Flags.Namespace, Name: o.Name}, live); err != nil {
		return fmt.Errorf("cannot read cluster %s: %w", o.Name, err)
	}
	if err := ownSecret(ctx, o, hub, live.UID); err != nil {
		return err
	}
	s.Donef("secret %s %s, cluster %s %s", secretName(o), result, o.Name, outcome)
	return nil
}

// ownSecret makes the Cluster the owner of its kubeconfig. It is a patch of its own, because an apply
// that changes nothing but owners would take the object for unchanged.
func ownSecret(ctx context.Context, o *Options, hub *factory.Hub, owner types.UID) error {
	secret := &corev1.Secret{}
	if err := hub.Get(ctx, client.ObjectKey{Namespace: o.Flags.Namespace, Name: secretName(o)}, secret); err != nil {
		return fmt.Errorf("cannot read secret %s: %w", secretName(o), err)
	}
	if len(secret.OwnerReferences) == 1 && secret.OwnerReferences[0].UID == owner {
		return nil
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": secret.UID, "ownerReferences": []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.ClusterKind, Name: o.Name, UID: owner,
	}}}})
	if err != nil {
		return fmt.Errorf("cannot encode the change: %w", err)
	}
	if err := hub.Patch(ctx, secret, client.RawPatch(types.MergePatchType, body), client.FieldOwner(apply.FieldManager)); err != nil {
		return fmt.Errorf("cannot make the cluster %s the owner of its secret: %w", o.Name, err)
	}
	return nil
}

// writeCluster makes the Cluster, or changes the one that is there in just what the command line
// says: other labels decide what runs there, and leaving a flag away is no wish to take it off.
func writeCluster(ctx context.Context, o *Options, hub *factory.Hub, w wanted) (apply.Result, error) {
	live := &v1alpha1.Cluster{}
	err := hub.Get(ctx, client.ObjectKey{Namespace: o.Flags.Namespace, Name: o.Name}, live)
	if apierrors.IsNotFound(err) {
		cluster, err := apply.FromTyped(hub.Scheme(), clusterOf(o, w))
		if err != nil {
			return "", err
		}
		return apply.Object(ctx, hub, cluster)
	}
	if err != nil {
		return "", fmt.Errorf("cannot read cluster %s: %w", o.Name, err)
	}
	body, err := changes(live, o, w)
	if err != nil || body == nil {
		return apply.Unchanged, err
	}
	if owner := live.Labels[v1alpha1.OwnerLabel]; owner != "" {
		return "", factory.Next(fmt.Errorf("the cluster %s is kept from Git by %s, which would undo this change; its Secret is written", o.Name, owner),
			"change its labels, vars and secretRef (%s) in Git", secretName(o))
	}
	if err := hub.Patch(ctx, live, client.RawPatch(types.MergePatchType, body), client.FieldOwner(apply.FieldManager)); err != nil {
		return "", fmt.Errorf("cannot change cluster %s: %w", o.Name, err)
	}
	return apply.Changed, nil
}

// changes returns the merge patch that brings a Cluster to what is wanted; nil when it is there.
func changes(live *v1alpha1.Cluster, o *Options, w wanted) ([]byte, error) {
	oldVars := map[string]string{}
	for k, v := range live.Spec.Vars {
		oldVars[k] = string(v)
	}
	spec, patch := map[string]any{}, map[string]any{}
	if d := w.vars.difference(oldVars); len(d) > 0 {
		spec["vars"] = d
	}
	if k := live.Spec.KubeConfig; k == nil || k.SecretRef.Name != secretName(o) || k.SecretRef.Key != "" && k.SecretRef.Key != "value" {
		spec["kubeConfig"] = map[string]any{"secretRef": map[string]any{"name": secretName(o), "key": nil}}
	}
	if len(o.Agent.Namespaces) > 0 && !slices.Equal(o.Agent.Namespaces, live.Spec.Namespaces) {
		spec["namespaces"] = o.Agent.Namespaces
	}
	if o.Shared && live.Spec.Sharing != v1alpha1.SharingShared {
		spec["sharing"] = v1alpha1.SharingShared
	}
	if live.Spec.Agent != nil { // what runs there stays: push and pull leave the same
		spec["agent"] = nil
	}
	if len(spec) > 0 {
		patch["spec"] = spec
	}
	if d := w.labels.difference(live.Labels); len(d) > 0 {
		patch["metadata"] = map[string]any{"labels": d}
	}
	if len(patch) == 0 {
		return nil, nil
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the change: %w", err)
	}
	return body, nil
}

// difference is the part of a merge patch that brings old to what is wanted.
func (c change) difference(old map[string]string) map[string]any {
	d, now := map[string]any{}, c.on(old)
	for k, v := range now {
		if was, ok := old[k]; !ok || was != v {
			d[k] = v
		}
	}
	for k := range maps.Keys(old) {
		if _, ok := now[k]; !ok {
			d[k] = nil
		}
	}
	return d
}

// waitForCluster asks the hub to try the cluster with what it has now, and waits until it has
// reached it. A failure on the way is printed and not final: the hub may see the Cluster before the
// Secret.
func waitForCluster(ctx context.Context, o *Options, hub *factory.Hub, s *factory.Step) error {
	ctx, cancel := o.WithTimeout(ctx, time.Minute)
	defer cancel()
	c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: o.Flags.Namespace, Name: o.Name}}
	body := v1alpha1.ReconcileRequestPatch(o.Now().Format(time.RFC3339Nano))
	if err := hub.Patch(ctx, c, client.RawPatch(types.MergePatchType, body), client.FieldOwner(apply.FieldManager)); err != nil {
		return fmt.Errorf("cannot ask the hub to try the cluster: %w", err)
	}
	stand := "the hub has not looked at it"
	err := wait.Until(ctx, hub, []client.Object{c}, func() (bool, error) {
		ready := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ReadyCondition)
		if ready == nil || c.Status.ObservedGeneration < c.Generation || c.Status.LastHandledReconcileAt != v1alpha1.ReconcileRequest(c.Annotations) {
			return false, nil
		}
		stand = ready.Reason + ": " + ready.Message
		if ready.Status != metav1.ConditionTrue {
			s.Notef("%s", stand)
			return false, nil
		}
		return true, nil
	})
	if err == nil {
		s.Donef("reached, Kubernetes %s", c.Status.Version)
		return nil
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	late, cancelLate := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancelLate()
	return factory.Next(fmt.Errorf("the cluster has joined but is not ready: %s", stand),
		"the hub keeps trying, see 'skerry status'; %s", diagnose.Hub(late, hub))
}
