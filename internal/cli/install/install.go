// Package install is the command that puts a hub onto a cluster without Git.
package install

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/components"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/preflight"
	"github.com/skerry-dev/skerry/internal/cli/wait"
)

// Options of the command.
type Options struct {
	*factory.Factory
	components.Options

	OwnCluster     bool
	Export         bool
	Wait           bool
	AllowDowngrade bool

	// serverVersion asks the hub's API server and refuses one that is too old.
	serverVersion func(context.Context, *factory.Hub) (string, error)
}

// NewCmdInstall returns the command; runF replaces what it runs, for tests.
func NewCmdInstall(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f, serverVersion: func(ctx context.Context, hub *factory.Hub) (string, error) {
		return preflight.Version(ctx, hub.Config)
	}}
	if runF == nil {
		runF = runInstall
	}
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Put a hub onto a cluster",
		Long: `Put a hub onto a cluster: its namespace, kinds, rights, Deployment and network policy.
Running it again brings what is there to this version. 'skerry bootstrap git' does the
same and lets the hub keep itself up to date from Git.`,
		Example: `  # Install, and wait until the hub runs
  skerry install

  # See what would be installed
  skerry install --export

  # Only the kinds, for a hub that runs outside of the cluster
  skerry install --crds-only`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.NotOwnCluster = !o.OwnCluster
			return runF(cmd.Context(), o)
		},
	}
	AddFlags(cmd, &o.Options, f.Version)
	AddDowngradeFlag(cmd, &o.AllowDowngrade)
	flags := cmd.Flags()
	flags.BoolVar(&o.Export, "export", false, "print the manifests as YAML and change nothing")
	flags.BoolVar(&o.OwnCluster, "own-cluster", true, "let the hub apply to its own cluster too, as cluster-admin")
	flags.BoolVar(&o.Wait, "wait", true, "wait until the hub is available")
	return cmd
}

var release = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-(alpha|beta|rc)\.[0-9]+)?$`)

// AddFlags adds the flags that configure the hub's manifests.
func AddFlags(cmd *cobra.Command, to *components.Options, ownVersion string) {
	if !release.MatchString(ownVersion) {
		ownVersion = "" // built from a checkout: there is no image of that name
	}
	flags := cmd.Flags()
	flags.StringVar(&to.Version, "version", ownVersion, "version of the hub, as the tag of its image")
	flags.StringVar(&to.Image, "image", "", "whole name of the hub's image (default: "+components.Repository+" of that version)")
	flags.StringVar(&to.Registry, "registry", "", "registry with a copy of the hub's image (default: that of "+components.Repository+")")
	flags.StringVar(&to.ImagePullSecret, "image-pull-secret", "", "Secret in the hub's namespace with the credentials of the registry")
	flags.StringSliceVar(&to.TolerationKeys, "toleration-keys", nil, "keys of taints that the hub's Pods tolerate")
	flags.StringSliceVar(&to.Components, "components", components.Default, "parts to install beside the hub itself: gateway for agents, receiver for webhooks, network-policy; none for none of them")
	flags.StringSliceVar(&to.Extra, "components-extra", nil, "further parts: monitoring, for a cluster with the Prometheus operator")
	_ = cmd.RegisterFlagCompletionFunc("components", cobra.FixedCompletions(components.Default, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("components-extra", cobra.FixedCompletions(components.Extras, cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&to.HubID, "hub-id", "", "identity of the hub in the labels of what it applies (default: uid of its cluster)")
	flags.BoolVar(&to.CRDsOnly, "crds-only", false, "only the kinds and the namespace, for a hub that runs outside of the cluster")
}

// AddDowngradeFlag adds the flag that lets an older version take the place of a newer one.
func AddDowngradeFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "allow-downgrade", false, "let an older version take the place of the one that is there")
}

func runInstall(ctx context.Context, o *Options) error {
	if err := o.SystemNamespaceOnly(); err != nil {
		return err
	}
	if err := ValidHubID(o.HubID); err != nil {
		return err
	}
	if err := CheckComponents(&o.Options); err != nil {
		return err
	}
	manifests, err := components.Render(o.Options)
	if err != nil {
		return err
	}
	if o.Export {
		return export(o, manifests)
	}
	ctx, cancel := o.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	steps := o.Steps()
	if err := steps.Do("pre-flight", func(s *factory.Step) error { return check(ctx, o, hub, s) }); err != nil {
		return err
	}
	err = steps.Do("apply", func(s *factory.Step) error {
		noteLeftOut(ctx, hub, o, s)
		return apply.All(ctx, hub, manifests, s)
	})
	if err != nil {
		return err
	}
	if o.CRDsOnly {
		o.IO.Progressf("the kinds are there; start skerry-hub with a kubeconfig of this cluster")
		return nil
	}
	if o.Wait {
		if err := steps.Do("hub", func(s *factory.Step) error { return waitForHub(ctx, hub, s) }); err != nil {
			return err
		}
	}
	o.IO.Progressf("the hub is installed; 'skerry cluster join' adds an edge cluster, 'skerry status' shows what runs where")
	return nil
}

func check(ctx context.Context, o *Options, hub *factory.Hub, s *factory.Step) error {
	version, err := o.serverVersion(ctx, hub)
	if err != nil {
		return err
	}
	if err := preflight.Permissions(ctx, hub, preflight.Install()); err != nil {
		return err
	}
	if err := preflight.Extras(hub, o.Extra); err != nil {
		return err
	}
	if err := preflight.Upgrade(ctx, hub, o.Options.Version, o.AllowDowngrade); err != nil {
		return err
	}
	// A Kustomization that has the hub's manifests would see this as drift and put it back.
	root := &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.SystemNamespace}}
	err = hub.Get(ctx, client.ObjectKeyFromObject(root), root)
	switch {
	case err == nil:
		return factory.Next(fmt.Errorf("this hub keeps itself from Git, path %s, and would undo what is installed by hand", root.Spec.Path),
			"run 'skerry bootstrap git' again, or change the manifests in Git")
	case !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err):
		return fmt.Errorf("cannot find out whether the hub keeps itself from Git: %w", err)
	}
	s.Donef("Kubernetes %s at %s", version, hub.Config.Host)
	return nil
}

// noteLeftOut prints what an earlier installation has of parts that are not asked for any more. What may not be
// read is not told.
func noteLeftOut(ctx context.Context, hub *factory.Hub, o *Options, s *factory.Step) {
	kinds := map[string]schema.GroupVersion{"Service": corev1.SchemeGroupVersion, "NetworkPolicy": networkingv1.SchemeGroupVersion}
	for _, left := range o.LeftOut() {
		live := &metav1.PartialObjectMetadata{}
		live.SetGroupVersionKind(kinds[left[0]].WithKind(left[0]))
		if err := hub.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: left[1]}, live); err == nil {
			kind := strings.ToLower(left[0])
			s.Notef("%s %s is there from before: 'kubectl -n %s delete %s %s' deletes it", kind, left[1], v1alpha1.SystemNamespace, kind, left[1])
		}
	}
}

// none is what --components is given for the hub alone.
const none = "none"

// CheckComponents refuses parts that there are not.
func CheckComponents(o *components.Options) error {
	if slices.Equal(o.Components, []string{none}) {
		o.Components = []string{}
	}
	switch unknown := o.CheckParts(); {
	case unknown != nil:
		return factory.Usagef("--components, --components-extra: %w", unknown)
	case o.CRDsOnly && len(o.Extra) > 0:
		return factory.Usagef("--components-extra does not go with --crds-only")
	}
	return nil
}

func waitForHub(ctx context.Context, hub *factory.Hub, s *factory.Step) error {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: diagnose.HubName}}
	err := wait.Until(ctx, hub, []client.Object{d}, func() (bool, error) {
		ok, why := diagnose.Available(d)
		if !ok {
			s.Notef("%s", why)
		}
		return ok, nil
	})
	if err == nil {
		s.Donef("available")
		return nil
	}
	if ctx.Err() == nil {
		return err
	}
	// Its own deadline: the one that passed would end this too.
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return factory.Next(fmt.Errorf("the hub is not available: %s: %w", diagnose.Hub(late, hub), err),
		"kubectl -n %s describe pods; kubectl -n %s logs deployment/%s", v1alpha1.SystemNamespace, v1alpha1.SystemNamespace, diagnose.HubName)
}
