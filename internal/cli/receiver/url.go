// Package receiver is about webhooks: the URL that a Git server has to call.
package receiver

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// serviceName is that of the Service at which the hub takes webhooks.
const serviceName = "skerry-receiver"

// URLOptions of `receiver url`.
type URLOptions struct {
	*factory.Factory
	Name string
	// Base is the beginning of the URL; found by the Ingress when empty.
	Base   string
	Output string
}

// URL is what -o json and yaml print.
type URL struct {
	// URL is empty when the host is not known.
	URL  string `json:"url,omitempty"`
	Path string `json:"path"`
}

// NewCmdReceiver returns the command; runF replaces what its subcommand runs, for tests.
func NewCmdReceiver(f *factory.Factory, runF func(context.Context, *URLOptions) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "receiver",
		Short:   "Tell what a Git server has to know to send webhooks",
		Example: "  skerry receiver url github",
	}
	factory.Group(cmd)
	cmd.AddCommand(newCmdURL(f, runF))
	return cmd
}

func newCmdURL(f *factory.Factory, runF func(context.Context, *URLOptions) error) *cobra.Command {
	o := &URLOptions{Factory: f}
	if runF == nil {
		runF = runURL
	}
	cmd := &cobra.Command{
		Use:   "url NAME",
		Short: "Print the URL of a Receiver, to be entered at the Git server",
		Long: `Print the URL of a Receiver, to be entered at the Git server with the token of its Secret.

The path is the Receiver's. The host is that of the Ingress in front of the hub's webhooks, see
config/ingress, or that of --base-url; where neither is known the path alone is printed.`,
		Example: `  skerry receiver url github
  skerry receiver url github --base-url https://hooks.example.com`,
		Args:              factory.OneName,
		ValidArgsFunction: f.CompleteName(func() client.ObjectList { return &v1alpha1.ReceiverList{} }),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return runF(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Base, "base-url", "", "how the hub's webhooks are reached, for example https://hooks.example.com (default: by the Ingress)")
	factory.AddOutputFlag(cmd, &o.Output)
	return cmd
}

func runURL(ctx context.Context, o *URLOptions) error {
	base, err := parseBase(o.Base)
	if err != nil {
		return err
	}
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	r := &v1alpha1.Receiver{}
	if err := o.get(ctx, hub, r); err != nil {
		return err
	}
	if err := accepts(r); err != nil {
		return err
	}
	made := URL{Path: iostreams.Line(r.Status.WebhookPath)}
	if base == "" {
		if base, err = findBase(ctx, hub, r.Status.WebhookPath); err != nil {
			return err
		}
	}
	if base != "" {
		made.URL = base + made.Path
	} else {
		o.IO.Progressf("no Ingress leads to the Service %s/%s: put how the hub is reached before the path, or give it with --base-url", v1alpha1.SystemNamespace, serviceName)
	}
	if o.Output != "" {
		return factory.Print(o.IO.Out, o.Output, made)
	}
	text := made.URL
	if text == "" {
		text = made.Path
	}
	if _, err := fmt.Fprintln(o.IO.Out, text); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

func (o *URLOptions) get(ctx context.Context, hub *factory.Hub, r *v1alpha1.Receiver) error {
	namespace := o.Flags.Namespace
	err := hub.Get(ctx, client.ObjectKey{Namespace: namespace, Name: o.Name}, r)
	switch {
	case err == nil:
		return nil
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("cannot read receiver %s: %w", o.Name, err)
	}
	names, err := factory.Names(ctx, hub, &v1alpha1.ReceiverList{}, namespace)
	if err != nil {
		return err
	}
	return factory.NotFound("receiver", o.Name, namespace, names)
}

// accepts refuses a Receiver whose URL would be answered with an error, or may be that of an earlier token.
func accepts(r *v1alpha1.Receiver) error {
	ready := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ReadyCondition)
	switch {
	case ready == nil || r.Status.ObservedGeneration < r.Generation:
		return factory.Next(fmt.Errorf("the hub has not looked at receiver %s yet", r.Name), "'skerry check' tells whether the hub works")
	case ready.Status != metav1.ConditionTrue || r.Status.WebhookPath == "":
		return factory.Next(fmt.Errorf("receiver %s accepts no webhooks: %s: %s", r.Name, ready.Reason, iostreams.Line(ready.Message)), "'skerry get receiver %s' shows when it does; its URL is known then", r.Name)
	}
	return nil
}

func parseBase(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	base, err := url.Parse(text)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return "", factory.Usagef("--base-url must be like https://hooks.example.com")
	}
	return strings.TrimRight(text, "/"), nil
}

// findBase returns the URL at which an Ingress takes webhooks; empty when there is none, or it may not be read.
func findBase(ctx context.Context, hub *factory.Hub, path string) (string, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(networkingv1.SchemeGroupVersion.WithKind("IngressList"))
	err := hub.List(ctx, list, client.InNamespace(v1alpha1.SystemNamespace))
	if apierrors.IsForbidden(err) || meta.IsNoMatchError(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot list Ingresses: %w", err)
	}
	var found []string
	for i := range list.Items {
		ingress := &networkingv1.Ingress{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, ingress); err != nil {
			return "", fmt.Errorf("cannot read the Ingress %s: %w", list.Items[i].GetName(), err)
		}
		found = append(found, basesOf(ingress, path)...)
	}
	slices.Sort(found)
	if len(found) == 0 {
		return "", nil
	}
	return found[0], nil
}

// basesOf are the URLs at which an Ingress takes webhooks of a path.
func basesOf(ingress *networkingv1.Ingress, path string) []string {
	var bases []string
	for _, rule := range ingress.Spec.Rules {
		if rule.HTTP == nil || rule.Host == "" || strings.Contains(rule.Host, "*") {
			continue
		}
		for _, p := range rule.HTTP.Paths {
			if s := p.Backend.Service; s == nil || s.Name != serviceName || !strings.HasPrefix(path, p.Path) {
				continue
			}
			scheme := "http://"
			if slices.ContainsFunc(ingress.Spec.TLS, func(tls networkingv1.IngressTLS) bool {
				return len(tls.Hosts) == 0 || slices.Contains(tls.Hosts, rule.Host)
			}) {
				scheme = "https://"
			}
			bases = append(bases, scheme+rule.Host)
		}
	}
	return bases
}
