// Package build is the command that shows what a Kustomization renders for its clusters, by the code
// that the hub runs.
//
// Collecting what goes in (from a hub, or from files), rendering it, and writing it are apart.
package build

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/tree"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Name        string
	Clusters    []string
	Selector    string
	AllClusters bool
	Path        string
	// Files are taken instead of those of Path, or of the commit.
	Files             *tree.Tree
	KustomizationFile string
	ClusterFiles      []string
	HubID             string
	ShowSecrets       bool
	// Decrypt opens what SOPS encrypted, by the Secret of spec.decryption or the keys of the environment; without
	// it such values are masked.
	Decrypt bool
	// Recursive renders the Kustomizations among what is rendered, too.
	Recursive bool
	// LocalSources are checkouts for the sources of those: "[GitRepository/][NAMESPACE/]NAME=PATH".
	LocalSources []string
	// StrictSubstitute is always on: the hub is strict.
	StrictSubstitute bool
	Output           string

	// allFlag is the name of the flag that chooses every cluster.
	allFlag string
}

// NewCmdBuild returns the command; runF replaces what its subcommand runs, for tests.
func NewCmdBuild(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "build",
		Short:   "Show what is rendered",
		Example: `  skerry build kustomization apps --cluster shop-1`,
	}
	factory.Group(cmd)
	cmd.AddCommand(newCmdKustomization(f, runF))
	return cmd
}

func newCmdKustomization(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = run
	}
	cmd := &cobra.Command{
		Use:     "kustomization [NAME]",
		Aliases: []string{"ks"},
		Short:   "Show exactly what a kustomization renders for a cluster",
		Long: `Show exactly what a kustomization renders for a cluster, by the code that the hub runs: with the
Cluster's vars and varsFrom, substituteFrom, the patches and images that are for it, and the
owner label.

Kustomization, Clusters, ConfigMaps and Secrets are read from the hub, and the files from the
commit that the hub has fetched; or from --path, a local checkout, to see what a change would
do before it is pushed. With --kustomization-file and --cluster-file they are read from files,
and no API server is asked: each may hold several documents, ConfigMaps and Secrets too. What an
API server would refuse is refused, with its message.

The data of Secrets, and what was taken from them, is shown as *** unless --show-secrets is
given. What SOPS encrypted is shown as *** too, and with --decrypt opened as far as rendering
goes. A rollout may still hold a cluster at an earlier revision: 'skerry status' tells.

With --recursive, Kustomizations among the rendered objects are rendered as well, for all the
clusters they select, of those that --cluster and -l leave; so are those among theirs. Clusters,
ConfigMaps and Secrets that are rendered are taken before those of the hub. The files of another
source are those of --local-sources, or of the commit that the hub has fetched.`,
		Example: `  # What shop-1 gets from the commit that the hub has
  skerry build kustomization apps --cluster shop-1

  # What it would get from the files in the working tree
  skerry build kustomization apps --cluster shop-1 --path . | diff before.yaml -

  # All that a commit to the hub's own path comes to, on every cluster
  skerry build kustomization skerry-system -r --path . --local-sources GitRepository/apps=../apps

  # Without a hub
  skerry build kustomization --path . --kustomization-file ks.yaml --cluster-file c.yaml --cluster a`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && o.KustomizationFile != "" {
				return nil
			}
			return factory.OneName(cmd, args)
		},
		ValidArgsFunction: f.CompleteName(func() client.ObjectList { return &v1alpha1.KustomizationList{} }),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Name = args[0]
			}
			if !o.StrictSubstitute {
				return factory.Usagef("--strict-substitute=false cannot be followed: the hub applies nothing with a variable that has no value")
			}
			return runF(cmd.Context(), o)
		},
	}
	addKustomizationFlags(cmd, o)
	return cmd
}

func addKustomizationFlags(cmd *cobra.Command, o *Options) {
	flags := cmd.Flags()
	AddTargetFlags(cmd, o, "all-clusters")
	flags.StringVar(&o.Path, "path", "", "local checkout to take the files from, as they are, instead of the commit")
	flags.StringVar(&o.KustomizationFile, "kustomization-file", "", "read the Kustomization from a file instead of the hub")
	flags.StringArrayVar(&o.ClusterFiles, "cluster-file", nil, "read Clusters from a file instead of the hub; can be given again")
	flags.StringVar(&o.HubID, "hub-id", "", "identity of the hub in the owner label (default: the hub's; offline: none)")
	flags.BoolVar(&o.ShowSecrets, "show-secrets", false, "show the data of Secrets")
	flags.BoolVar(&o.Decrypt, "decrypt", false, "open what SOPS encrypted, by the Secret of spec.decryption if it is at hand, else by your own keys (SOPS_AGE_KEY, SOPS_AGE_KEY_FILE, gpg)")
	flags.BoolVarP(&o.Recursive, "recursive", "r", false, "render the Kustomizations among the rendered objects, too")
	flags.StringSliceVar(&o.LocalSources, "local-sources", nil, "with --recursive: checkouts of other sources, as GitRepository/[NAMESPACE/]NAME=PATH, separated by commas")
	flags.BoolVar(&o.StrictSubstitute, "strict-substitute", true, "refuse variables that have neither a value nor a default; always so, as on the hub")
	factory.AddOutputFlag(cmd, &o.Output)
	_ = cmd.MarkFlagDirname("path")
	_ = cmd.MarkFlagFilename("kustomization-file", "yaml", "yml")
	_ = cmd.MarkFlagFilename("cluster-file", "yaml", "yml")
}

// AddTargetFlags adds the flags that choose among the clusters of a Kustomization; all is the name of the
// one that chooses every cluster.
func AddTargetFlags(cmd *cobra.Command, o *Options, all string) {
	flags := cmd.Flags()
	o.allFlag = all
	flags.StringArrayVar(&o.Clusters, "cluster", nil, "for this cluster; can be given again (default: the only one)")
	flags.StringVarP(&o.Selector, "selector", "l", "", "for the selected clusters whose labels match, for example tier=shop")
	flags.BoolVar(&o.AllClusters, all, false, "for every cluster that the kustomization selects")
	complete := o.CompleteName(func() client.ObjectList { return &v1alpha1.ClusterList{} })
	_ = cmd.RegisterFlagCompletionFunc("cluster", func(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return complete(cmd, nil, typed)
	})
}

func (o *Options) check() error {
	ways := 0
	for _, given := range []bool{len(o.Clusters) > 0, o.Selector != "", o.AllClusters} {
		if given {
			ways++
		}
	}
	if _, err := labels.Parse(o.Selector); err != nil {
		return factory.Usagef("-l: %s", err)
	}
	switch {
	case ways > 1:
		return factory.Usagef("--cluster, -l and --%s exclude each other", o.allFlag)
	case len(o.LocalSources) > 0 && !o.Recursive:
		return factory.Usagef("--local-sources goes with --recursive")
	case o.KustomizationFile == "" && len(o.ClusterFiles) > 0:
		return factory.Usagef("--cluster-file goes with --kustomization-file")
	case o.KustomizationFile != "" && o.Path == "" && o.Files == nil:
		return factory.Usagef("--kustomization-file goes with --path: without a hub there is no commit")
	}
	return nil
}

func run(ctx context.Context, o *Options) error {
	if err := o.check(); err != nil {
		return err
	}
	ctx, cancel := o.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	in, made, err := makeAll(ctx, o)
	if err != nil {
		return err
	}
	defer func() { in.remove() }() // what is rendered of it may add to that
	layers := []layer{{in: in, made: made}}
	if o.Recursive {
		if layers, err = makeNested(ctx, o, layers[0]); err != nil {
			return err
		}
	}
	for _, l := range layers {
		l.in.tellMasked(o)
	}
	return write(o, layers)
}

// makeAll renders for the clusters that are asked for. The caller removes what files are read from.
func makeAll(ctx context.Context, o *Options) (*input, []*rendered, error) {
	collect := online
	if o.KustomizationFile != "" {
		collect = offline
	}
	in, err := collect(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	targets, err := choose(o, in)
	if err != nil {
		in.remove()
		return nil, nil, err
	}
	made, err := renderTargets(ctx, o, in, targets)
	if err != nil {
		in.remove()
		return nil, nil, err
	}
	return in, made, nil
}
