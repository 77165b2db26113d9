package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/preflight"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Name           string
	FromKubeconfig string
	FromContext    string
	Server         string
	Labels         []string
	Vars           []string
	UseCredentials bool
	Shared         bool
	TokenLifetime  time.Duration
	Export         bool
	Wait           bool
	Agent          AgentOptions
}

// NewCmdJoin returns the command; runF replaces what it runs, for tests.
func NewCmdJoin(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runJoin
	}
	cmd := &cobra.Command{
		Use:   "join NAME",
		Short: "Add an edge cluster to the hub",
		Long: `Add an edge cluster to the hub. On the edge this makes the ServiceAccount skerry-hub in
the namespace skerry-system, cluster-admin of the edge, and a token for it. On the hub it makes
a Secret with a kubeconfig that holds nothing but the edge's address, its certificate authority
and that token, and the Cluster. Your own credentials for the edge are used once and stay here.

The ServiceAccount is cluster-admin because whoever may apply any object may make any role. To
let the hub do less, name --namespaces, which make it an administrator of these alone, or join
with --use-credentials and a kubeconfig that may do less.

With --agent the cluster reaches the hub instead: an agent there dials the hub's gateway. With
--from-kubeconfig it is installed at once, and your credentials stay here. Without, its manifests
are printed, with a token that serves once; who has them can join in the cluster's name.

Running it again writes the Secret again, or with --agent makes another token and installs the agent
with the options that are given now. Labels and vars that were set stay, those given replace them,
and "key-" removes one.`,
		Example: `  # Join a cluster, with what selects it and what its manifests need to know
  skerry cluster join shop-1 --from-kubeconfig shop-1.yaml \
    --label tier=shop --var region=north

  # From a context of your own kubeconfig, reached by the hub at another address
  skerry cluster join shop-2 --from-kubeconfig ~/.kube/config --from-context shop-2 \
    --server https://shop-2.example.com:6443

  # Install an agent there, which dials out: for a cluster that the hub cannot reach
  skerry cluster join ship-1 --agent --from-kubeconfig ship-1.yaml

  # Or print what a person there applies within a day
  skerry cluster join ship-2 --agent > ship-2-agent.yaml

  # Print the objects for the hub instead, to encrypt them and keep them in Git
  skerry cluster join shop-3 --from-kubeconfig shop-3.yaml --export | sops encrypt ...`,
		Args: factory.OneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return runF(cmd.Context(), o)
		},
	}
	o.addFlags(cmd.Flags())
	_ = cmd.MarkFlagFilename("from-kubeconfig")
	_ = cmd.MarkFlagFilename("agent-ca-file")
	return cmd
}

func (o *Options) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.FromKubeconfig, "from-kubeconfig", "", "kubeconfig of the edge cluster")
	flags.StringVar(&o.FromContext, "from-context", "", "context of that kubeconfig (default: its current one)")
	flags.StringVar(&o.Server, "server", "", "address at which the hub reaches the edge (default: the one in the kubeconfig)")
	flags.StringArrayVar(&o.Labels, "label", nil, "label of the Cluster, as key=value or key-; can be given again")
	flags.StringArrayVar(&o.Vars, "var", nil, "variable of the Cluster, as key=value or key-; can be given again")
	flags.BoolVar(&o.UseCredentials, "use-credentials", false, "store the credentials of the kubeconfig instead of making a ServiceAccount")
	flags.BoolVar(&o.Shared, "shared", false, "share the edge with other Clusters and hubs whose Clusters say so as well")
	flags.DurationVar(&o.TokenLifetime, "token-lifetime", 0, "let the token expire after this time; the hub renews it after a third of that (default: one that does not expire)")
	o.Agent.addFlags(flags, o.Factory.Version)
	flags.BoolVar(&o.Export, "export", false, "print Secret and Cluster, with the token, and change nothing on the hub")
	flags.BoolVar(&o.Wait, "wait", true, "wait until the hub has reached the cluster")
}

func runJoin(ctx context.Context, o *Options) error {
	wanted, err := parse(o)
	if err != nil {
		return err
	}
	if err := checkReach(o); err != nil {
		return err
	}
	if o.Agent.Enabled {
		return runJoinAgent(ctx, o, wanted)
	}
	edge, err := loadEdge(o)
	if err != nil {
		return err
	}
	ctx, cancel := o.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	steps := o.Steps()

	if err := steps.Do("edge", func(s *factory.Step) error { return edge.reachForHub(ctx, s) }); err != nil {
		return err
	}
	if o.Export {
		return export(ctx, o, steps, edge, wanted)
	}
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	if err := steps.Do("hub", func(s *factory.Step) error { return checkHub(ctx, o, hub, edge, s) }); err != nil {
		return err
	}
	kubeconfig, err := credentials(ctx, o, steps, edge)
	if err != nil {
		return err
	}
	if err := steps.Do("join", func(s *factory.Step) error { return join(ctx, o, hub, wanted, kubeconfig, s) }); err != nil {
		return err
	}
	if !o.Wait {
		return nil
	}
	return steps.Do("cluster "+o.Name, func(s *factory.Step) error { return waitForCluster(ctx, o, hub, s) })
}

// credentials returns the kubeconfig that the hub is to have.
func credentials(ctx context.Context, o *Options, steps *factory.Steps, edge *edge) (kubeconfig []byte, err error) {
	err = steps.Do("credentials", func(s *factory.Step) error {
		if o.UseCredentials {
			s.Donef("those of %s", o.FromKubeconfig)
			kubeconfig, err = edge.ownCredentials()
			return err
		}
		if err := mayMakeAccount(ctx, edge); err != nil {
			return err
		}
		token, ca, err := edge.serviceAccountToken(ctx, o, s)
		if err != nil {
			return err
		}
		kubeconfig, err = edge.tokenKubeconfig(ctx, token, ca)
		s.Donef("ServiceAccount %s/%s on the edge", systemNamespace, account)
		return err
	})
	return kubeconfig, err
}

// checkReach refuses what only makes sense for an edge that the hub reaches with an account of its own.
func checkReach(o *Options) error {
	own := len(o.Agent.Namespaces) > 0 || o.TokenLifetime != 0
	switch {
	case o.Agent.Enabled && (o.TokenLifetime != 0 || o.Shared):
		return factory.Usagef("--shared and --token-lifetime are for a cluster that the hub reaches, not for one with an agent")
	case o.UseCredentials && own:
		return factory.Usagef("--namespaces and --token-lifetime are for the account that join makes, not for --use-credentials")
	case o.TokenLifetime != 0 && o.TokenLifetime < 10*time.Minute:
		return factory.Usagef("--token-lifetime must be at least 10m, as API servers ask for")
	}
	return nil
}

func mayMakeAccount(ctx context.Context, edge *edge) error {
	err := preflight.Permissions(ctx, edge.client, []preflight.Need{
		{Verb: "patch", Resource: "namespaces"},
		{Verb: "patch", Resource: "serviceaccounts", Namespace: systemNamespace},
		{Verb: "patch", Resource: "secrets", Namespace: systemNamespace},
		{Verb: "get", Resource: "secrets", Namespace: systemNamespace},
		{Verb: "patch", Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"},
		{Verb: "get", Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"},
		{Verb: "bind", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
	})
	if err != nil {
		return factory.Next(fmt.Errorf("the edge cluster: %w", err),
			"name a kubeconfig of an administrator of the edge, or, if what this one may do is enough for the hub, add --use-credentials")
	}
	return nil
}

// export prints what join would make on the hub.
func export(ctx context.Context, o *Options, steps *factory.Steps, edge *edge, w wanted) error {
	kubeconfig, err := credentials(ctx, o, steps, edge)
	if err != nil {
		return err
	}
	secret, err := apply.FromTyped(edge.client.Scheme(), secretOf(o, kubeconfig))
	if err != nil {
		return err
	}
	cluster, err := apply.FromTyped(edge.client.Scheme(), clusterOf(o, w))
	if err != nil {
		return err
	}
	doc, err := apply.YAML([]*unstructured.Unstructured{secret, cluster})
	if err != nil {
		return err
	}
	if _, err := o.IO.Out.Write(doc); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}
