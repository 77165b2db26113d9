package cluster

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/components"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/preflight"
	"github.com/skerry-dev/skerry/internal/cli/wait"
	"github.com/skerry-dev/skerry/internal/link"
)

// AgentOptions are how a cluster joins that reaches the hub by an agent.
type AgentOptions struct {
	Enabled  bool
	Gateway  string
	TokenFor time.Duration
	// NoDeployment leaves the Deployment out: the agent runs outside of the cluster.
	NoDeployment bool
	// RequireApproval keeps an agent that has joined waiting until it is approved.
	RequireApproval bool
	// Upgrades lets the hub keep the agent at its own version.
	Upgrades bool
	// CAFile is that of components.AgentOptions.CA.
	CAFile string
	flags  *pflag.FlagSet // of the command; nil in tests
	components.AgentOptions
}

var releaseVersion = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-(alpha|beta|rc)\.[0-9]+)?$`)

func (a *AgentOptions) addFlags(flags *pflag.FlagSet, version string) {
	if releaseVersion.MatchString(version) {
		a.Version = version
	}
	flags.BoolVar(&a.Enabled, "agent", false, "the cluster reaches the hub, by an agent there")
	flags.StringVar(&a.Gateway, "gateway", "", "URL at which the agent reaches the hub's gateway (default: what the hub is started with)")
	flags.DurationVar(&a.TokenFor, "token-for", 24*time.Hour, "how long the token of the agent lets it join")
	flags.StringSliceVar(&a.Namespaces, "namespaces", nil, "namespaces of the edge that the hub or the agent may write to, and no others (default: all of the edge); the hub reads no others either, an agent reads all")
	flags.StringVar(&a.Image, "agent-image", "", "whole name of the agent's image (default: "+components.AgentRepository+" of this version)")
	flags.StringVar(&a.Storage, "agent-storage", "", "size of a PersistentVolumeClaim for the agent's disk (default: a volume that goes with the Pod)")
	flags.StringVar(&a.Proxy, "agent-proxy", "", "URL of the HTTP proxy through which the agent reaches the gateway")
	flags.StringVar(&a.CAFile, "agent-ca-file", "", "file with the authority, in PEM, that signed the certificate of an ingress in front of the gateway (default: the public ones, or the hub's own, which is pinned)")
	flags.BoolVar(&a.Upgrades, "agent-upgrades", true, "let the hub keep the agent at its own version, staged over all such agents of the namespace; not one with options of its own, and not where the hub is no release")
	a.flags = flags
	flags.BoolVar(&a.RequireApproval, "require-approval", false, "give an agent that has joined nothing until 'skerry cluster approve' accepts it")
	flags.BoolVar(&a.NoDeployment, "no-deployment", false, "leave out the agent's Deployment, for an agent that runs beside the cluster")
}

// check refuses flags that do not go together.
func (a *AgentOptions) check(o *Options) error {
	if !a.Enabled {
		if a.Gateway != "" || a.Image != "" || a.Storage != "" || a.Proxy != "" || a.CAFile != "" || a.NoDeployment || a.RequireApproval || a.upgradesAsked() {
			return factory.Usagef("--gateway, --agent-image, --agent-storage, --agent-proxy, --agent-ca-file, --agent-upgrades, --require-approval and --no-deployment need --agent")
		}
		return nil
	}
	if a.upgradesAsked() && (a.NoDeployment || a.ownOptions()) {
		return factory.Usagef("--agent-upgrades is for an agent without options of its own, which the hub installs as it is: leave out --namespaces, --agent-image, --agent-storage, --agent-proxy, --agent-ca-file and --no-deployment")
	}
	for _, ns := range a.Namespaces {
		if problems := validation.IsDNS1123Label(ns); len(problems) > 0 {
			return factory.Usagef("--namespaces %q: %s", ns, problems[0])
		}
	}
	switch u, err := url.Parse(a.Gateway); {
	case a.Gateway != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil):
		return factory.Usagef("--gateway must be an https URL without credentials")
	case o.UseCredentials, o.Server != "":
		return factory.Usagef("--use-credentials and --server are for a cluster that the hub reaches: leave them out with --agent")
	case a.CAFile != "" && a.NoDeployment:
		return factory.Usagef("--agent-ca-file is for the Deployment: an agent that runs beside the cluster trusts what its machine does, and SSL_CERT_FILE")
	case a.TokenFor < time.Minute || a.TokenFor > 30*24*time.Hour:
		return factory.Usagef("--token-for must be between 1m and 720h")
	}
	return a.readCA()
}

// readCA reads the authority of an ingress.
func (a *AgentOptions) readCA() error {
	if a.CAFile == "" {
		return nil
	}
	pem, err := os.ReadFile(a.CAFile)
	if err != nil {
		return factory.Usagef("cannot read --agent-ca-file: %s", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return factory.Usagef("--agent-ca-file %s holds no certificate in PEM", a.CAFile)
	}
	a.CA = string(pem)
	return nil
}

// runJoinAgent lets a cluster join that reaches the hub: with its kubeconfig the agent is installed there, without
// one its manifests are printed.
func runJoinAgent(ctx context.Context, o *Options, w wanted) error {
	ctx, cancel := o.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	steps := o.Steps()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	var there *edge
	if o.FromKubeconfig != "" {
		if there, err = loadEdge(o); err != nil {
			return err
		}
		if err := steps.Do("edge", func(s *factory.Step) error {
			if err := there.reach(ctx, s); err != nil {
				return err
			}
			return mayInstallAgent(ctx, there)
		}); err != nil {
			return err
		}
	}
	var enrollment link.Enrollment
	if err := steps.Do("hub", func(s *factory.Step) error {
		if there != nil {
			if err := checkHub(ctx, o, hub, there, s); err != nil {
				return err
			}
		}
		enrollment, err = gatewayOf(ctx, o, hub)
		return err
	}); err != nil {
		return err
	}
	if err := steps.Do("join", func(s *factory.Step) error {
		enrollment.Token, err = offer(ctx, o, hub, w, s)
		return err
	}); err != nil {
		return err
	}
	manifests, err := agentManifests(o, hub, enrollment)
	if err != nil {
		return err
	}
	if there == nil {
		return printAgent(o, manifests)
	}
	if err := steps.Do("agent", func(s *factory.Step) error {
		if err := apply.All(ctx, there.client, manifests, s); err != nil {
			return factory.EdgeError(err)
		}
		return nil
	}); err != nil {
		return err
	}
	if !o.Wait {
		return nil
	}
	return steps.Do("cluster "+o.Name, func(s *factory.Step) error { return waitForAgent(ctx, o, hub, there, s) })
}

func mayInstallAgent(ctx context.Context, edge *edge) error {
	const rbac = "rbac.authorization.k8s.io"
	err := preflight.Permissions(ctx, edge.client, []preflight.Need{
		{Verb: "patch", Resource: "namespaces"},
		{Verb: "patch", Resource: "serviceaccounts", Namespace: systemNamespace},
		{Verb: "patch", Resource: "secrets", Namespace: systemNamespace},
		{Verb: "patch", Group: "apps", Resource: "deployments", Namespace: systemNamespace},
		{Verb: "patch", Group: "networking.k8s.io", Resource: "networkpolicies", Namespace: systemNamespace},
		{Verb: "patch", Group: rbac, Resource: "clusterrolebindings"},
		{Verb: "bind", Group: rbac, Resource: "clusterroles"},
	})
	if err != nil {
		return factory.Next(fmt.Errorf("the edge cluster: %w", err), "name a kubeconfig of an administrator of the edge, or print the manifests without --from-kubeconfig")
	}
	return nil
}

// gatewayOf returns what agents of this hub are installed with.
func gatewayOf(ctx context.Context, o *Options, hub *factory.Hub) (link.Enrollment, error) {
	e, err := factory.Gateway(ctx, hub, o.Flags.Namespace+"/"+o.Name, o.Agent.Gateway)
	if err == nil && e.CA != "" && o.Agent.CA != "" {
		return e, factory.Next(errors.New("agents of this hub pin its own authority, and would not look at the one of --agent-ca-file"), "leave the flag out; where an ingress terminates TLS, start the hub with --gateway-plain-http")
	}
	return e, err
}

// offerToken makes the Cluster, or turns the one that is there into one with an agent, and lets an agent join once.
// Everything that runs there stays as it is.
func offerToken(ctx context.Context, o *Options, hub *factory.Hub, w wanted, s *factory.Step) (string, error) {
	token := rand.Text()
	hash := link.HashToken(token)
	agent := map[string]any{"join": map[string]any{"tokenHash": hex.EncodeToString(hash[:]), "expires": metav1.NewTime(o.Now().Add(o.Agent.TokenFor)).UTC().Format(time.RFC3339)}}
	if o.Agent.RequireApproval {
		agent["approval"] = string(v1alpha1.AgentApprovalManual)
	}
	live := &v1alpha1.Cluster{}
	err := hub.Get(ctx, client.ObjectKey{Namespace: o.Flags.Namespace, Name: o.Name}, live)
	switch {
	case apierrors.IsNotFound(err):
		c, err := apply.FromTyped(hub.Scheme(), clusterOf(o, w))
		if err != nil {
			return "", err
		}
		unstructured.RemoveNestedField(c.Object, "spec", "kubeConfig")
		unstructured.RemoveNestedField(c.Object, "spec", "namespaces") // an agent is given them on its edge
		if err := unstructured.SetNestedMap(c.Object, agent, "spec", "agent"); err != nil {
			return "", fmt.Errorf("cannot make the Cluster: %w", err)
		}
		if _, err := apply.Object(ctx, hub, c); err != nil {
			return "", err
		}
		s.Donef("cluster %s created", o.Name)
		return token, nil
	case err != nil:
		return "", fmt.Errorf("cannot read cluster %s: %w", o.Name, err)
	}
	former := live.Spec.KubeConfig
	if owner := live.Labels[v1alpha1.OwnerLabel]; owner != "" && former != nil {
		return "", factory.Next(fmt.Errorf("the cluster %s is kept from Git by %s, which would undo this change", o.Name, owner), "put agent: {} in the place of kubeConfig in Git, and run this again")
	}
	patch := map[string]any{"metadata": map[string]any{"resourceVersion": live.ResourceVersion}, "spec": map[string]any{"agent": agent}}
	spec, _ := patch["spec"].(map[string]any)
	meta, _ := patch["metadata"].(map[string]any)
	if former != nil {
		spec["kubeConfig"], spec["namespaces"] = nil, nil
	}
	if d := w.vars.difference(varsOf(live)); len(d) > 0 {
		spec["vars"] = d
	}
	if d := w.labels.difference(live.Labels); len(d) > 0 {
		meta["labels"] = d
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return "", fmt.Errorf("cannot encode the change: %w", err)
	}
	if err := hub.Patch(ctx, live, client.RawPatch(types.MergePatchType, body), client.FieldOwner(apply.FieldManager)); err != nil {
		return "", fmt.Errorf("cannot change cluster %s: %w", o.Name, err)
	}
	s.Donef("cluster %s waits for its agent", o.Name)
	if former != nil && former.SecretRef.Name == secretName(o) {
		return token, dropCredentials(ctx, o, hub, live.UID)
	}
	return token, nil
}

func varsOf(c *v1alpha1.Cluster) map[string]string {
	vars := map[string]string{}
	for k, v := range c.Spec.Vars {
		vars[k] = string(v)
	}
	return vars
}

// dropCredentials deletes the kubeconfig that an earlier join stored on the hub, if it is this Cluster's.
func dropCredentials(ctx context.Context, o *Options, hub *factory.Hub, owner types.UID) error {
	secret := &corev1.Secret{}
	err := hub.Get(ctx, client.ObjectKey{Namespace: o.Flags.Namespace, Name: secretName(o)}, secret)
	if apierrors.IsNotFound(err) || err == nil && (len(secret.OwnerReferences) != 1 || secret.OwnerReferences[0].UID != owner) {
		return nil
	}
	if err == nil {
		err = client.IgnoreNotFound(hub.Delete(ctx, secret, client.Preconditions{UID: &secret.UID}))
	}
	if err != nil {
		return fmt.Errorf("cannot delete the credentials that the hub does not need any more, Secret %s: %w", secretName(o), err)
	}
	return nil
}

// agentManifests are what the edge gets: the enrollment comes before the Deployment, so that the agent finds it.
func agentManifests(o *Options, hub *factory.Hub, e link.Enrollment) ([]*unstructured.Unstructured, error) {
	all, err := components.RenderAgent(o.Agent.AgentOptions)
	if err != nil {
		return nil, err
	}
	secret, err := enrollmentSecret(hub, e)
	if err != nil {
		return nil, err
	}
	out := make([]*unstructured.Unstructured, 0, len(all)+1)
	for _, m := range all {
		if m.GetKind() == "Deployment" {
			out = append(out, secret)
			if o.Agent.NoDeployment {
				continue
			}
		}
		out = append(out, m)
	}
	return out, nil
}

func printAgent(o *Options, manifests []*unstructured.Unstructured) error {
	doc, err := apply.YAML(manifests)
	if err != nil {
		return err
	}
	if _, err := o.IO.Out.Write(doc); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	o.IO.Progressf("apply this on %s within %s, by 'kubectl apply -f': it holds a token that lets one agent join in the cluster's name", o.Name, o.Agent.TokenFor)
	if o.Agent.RequireApproval {
		o.IO.Progressf("when it has joined, 'skerry cluster approve %s' accepts it", o.Name)
	}
	return nil
}

// waitForAgent waits until the agent reports. What keeps it off is on the hub, or, while it has never connected,
// in its Pod on the edge.
func waitForAgent(ctx context.Context, o *Options, hub *factory.Hub, there *edge, s *factory.Step) error {
	ctx, cancel := o.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: o.Flags.Namespace, Name: o.Name}}
	stand := "the hub has not heard of its agent"
	err := wait.Until(ctx, hub, []client.Object{c}, func() (bool, error) {
		ready := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ReadyCondition)
		if ready == nil || c.Status.ObservedGeneration < c.Generation || c.Spec.Agent == nil {
			return false, nil
		}
		stand = ready.Reason + ": " + ready.Message
		if ready.Reason == v1alpha1.AgentNotApprovedReason { // that is for a person
			return true, nil
		}
		if ready.Status != metav1.ConditionTrue || c.Spec.Agent.Join != nil {
			s.Notef("%s", stand)
			return false, nil
		}
		return true, nil
	})
	if err == nil && strings.HasPrefix(stand, v1alpha1.AgentNotApprovedReason) {
		s.Notef("%s", stand)
		return nil
	}
	if err == nil {
		s.Donef("its agent reports, Kubernetes %s", c.Status.Version)
		return nil
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	late, cancelLate := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancelLate()
	return factory.Next(fmt.Errorf("the agent is installed and does not report: %s%s", stand, podProblems(late, there)),
		"'skerry logs --cluster %s --from-kubeconfig FILE' shows its log; %s", o.Name, diagnose.Hub(late, hub))
}

// podProblems returns what keeps the agent's Pod from running, as far as the edge's API server shows it.
func podProblems(ctx context.Context, there *edge) string {
	pods := &corev1.PodList{}
	if there.client.List(ctx, pods, client.InNamespace(systemNamespace), client.MatchingLabels{"app.kubernetes.io/name": "skerry-agent"}) != nil {
		return ""
	}
	var waiting []string
	for i := range pods.Items {
		for _, status := range pods.Items[i].Status.ContainerStatuses {
			if w := status.State.Waiting; w != nil && w.Reason != "" {
				waiting = append(waiting, w.Reason)
			}
		}
	}
	if len(waiting) == 0 {
		return ""
	}
	return "; its Pod waits: " + strings.Join(waiting, ", ")
}
