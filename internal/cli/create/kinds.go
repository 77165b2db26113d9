package create

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/git"
)

// GitOptions of `create source git`.
type GitOptions struct {
	Common
	URL, Branch, Tag, SemVer, RefName, Commit string
	SecretRef, Provider                       string
	Interval                                  time.Duration
	IgnorePaths                               []string
	SparseCheckout                            []string
	RecurseSubmodules                         bool
	Wait                                      bool
}

// NewCmdGit returns the command; runF replaces what it runs, for tests.
func NewCmdGit(f *factory.Factory, runF func(context.Context, *GitOptions) error) *cobra.Command {
	o := &GitOptions{Common: Common{Factory: f}}
	if runF == nil {
		runF = runGit
	}
	cmd := &cobra.Command{
		Use:   "git NAME",
		Short: "Create a GitRepository",
		Example: `  skerry create source git fleet --url https://git.example.com/team/fleet.git --branch main
  skerry create source git fleet --url ssh://git@git.example.com/team/fleet.git \
    --tag-semver '>=1.0.0' --secret-ref fleet --export`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return runF(cmd.Context(), o)
		},
	}
	addCommon(cmd, &o.Common)
	flags := cmd.Flags()
	flags.StringVar(&o.URL, "url", "", "URL of the repository: http, https, ssh or user@host:path")
	flags.StringVar(&o.Branch, "branch", "", "branch to follow")
	flags.StringVar(&o.Tag, "tag", "", "tag to follow")
	flags.StringVar(&o.SemVer, "tag-semver", "", "range of versions of which the newest tag is followed")
	flags.StringVar(&o.RefName, "ref-name", "", "reference to follow, as refs/pull/1/head")
	flags.StringVar(&o.Commit, "commit", "", "commit to stay at")
	flags.StringVar(&o.SecretRef, "secret-ref", "", "Secret with the credentials, see 'skerry create secret git'")
	flags.StringVar(&o.Provider, "provider", "", "generic or github (a GitHub App)")
	flags.DurationVar(&o.Interval, "interval", time.Minute, "time between two looks at the repository")
	flags.StringSliceVar(&o.IgnorePaths, "ignore-paths", nil, "files to leave out, as in .gitignore")
	flags.StringSliceVar(&o.SparseCheckout, "sparse-checkout-paths", nil, "folders to see of the repository")
	flags.BoolVar(&o.RecurseSubmodules, "recurse-submodules", false, "fetch submodules too")
	flags.BoolVar(&o.Wait, "wait", true, "wait until it is fetched")
	return cmd
}

func runGit(ctx context.Context, o *GitOptions) error {
	source, err := gitRepository(o)
	if err != nil {
		return err
	}
	if err := o.put(ctx, source, "source"); err != nil || !o.Wait {
		return err
	}
	return o.waitReady(ctx, source, func() int64 { return source.Status.ObservedGeneration }, "source")
}

// gitRepository returns the object that the flags describe.
func gitRepository(o *GitOptions) (*v1alpha1.GitRepository, error) {
	in, err := o.meta()
	if err != nil {
		return nil, err
	}
	if o.URL == "" {
		return nil, factory.Usagef("--url is missing: the URL of the repository")
	}
	if _, err := git.Scheme(o.URL); err != nil {
		return nil, factory.Usagef("--url must be an http, https or ssh URL with a host and a path and without credentials, or user@host:path: %w", err)
	}
	refs := 0
	for _, ref := range []string{o.Branch, o.Tag, o.SemVer, o.RefName, o.Commit} {
		if ref != "" {
			refs++
		}
	}
	if refs == 0 {
		return nil, factory.Usagef("a reference is missing: --branch, --tag, --tag-semver, --ref-name or --commit")
	}
	if refs > 1 && (o.Commit == "" || o.Branch == "" || refs > 2) {
		return nil, factory.Usagef("--branch, --tag, --tag-semver, --ref-name and --commit exclude each other, but for a branch and a commit of it")
	}
	source := &v1alpha1.GitRepository{ObjectMeta: in, Spec: v1alpha1.GitRepositorySpec{
		URL: o.URL, Interval: metav1.Duration{Duration: o.Interval}, Provider: o.Provider,
		Reference:      &v1alpha1.GitRepositoryRef{Branch: o.Branch, Tag: o.Tag, SemVer: o.SemVer, Name: o.RefName, Commit: o.Commit},
		SparseCheckout: o.SparseCheckout, RecurseSubmodules: o.RecurseSubmodules,
	}}
	if o.SecretRef != "" {
		source.Spec.SecretRef = &meta.LocalObjectReference{Name: o.SecretRef}
	}
	if len(o.IgnorePaths) > 0 {
		ignore := strings.Join(o.IgnorePaths, "\n") + "\n"
		source.Spec.Ignore = &ignore
	}
	return source, nil
}

// KustomizationOptions of `create kustomization`.
type KustomizationOptions struct {
	Common
	Source, Path                         string
	Clusters                             []string
	ClusterSelector                      string
	Interval, RetryInterval, Timeout     time.Duration
	Prune, HealthWait, Force             bool
	DependsOn                            []string
	TargetNamespace                      string
	DecryptionProvider, DecryptionSecret string
	AllAtOnce                            bool
	Wait                                 bool
}

// NewCmdKustomization returns the command; runF replaces what it runs, for tests.
func NewCmdKustomization(f *factory.Factory, runF func(context.Context, *KustomizationOptions) error) *cobra.Command {
	o := &KustomizationOptions{Common: Common{Factory: f}}
	if runF == nil {
		runF = runKustomization
	}
	cmd := &cobra.Command{
		Use:     "kustomization NAME",
		Aliases: []string{"ks"},
		Short:   "Create a Kustomization",
		Example: `  # For all clusters of the shops
  skerry create kustomization web --source fleet --path ./web --cluster-selector tier=shop

  # For the hub's own cluster, after another one
  skerry create kustomization apps --source fleet --path ./apps --depends-on infra --export`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return runF(cmd.Context(), o)
		},
	}
	addCommon(cmd, &o.Common)
	flags := cmd.Flags()
	flags.StringVar(&o.Source, "source", "", "source, as NAME, KIND/NAME or KIND/NAME.NAMESPACE")
	flags.StringVar(&o.Path, "path", "./", "folder in the source")
	flags.StringArrayVar(&o.Clusters, "cluster", nil, "for this cluster; can be given again (without any: the hub's own)")
	_ = cmd.RegisterFlagCompletionFunc("cluster", f.CompleteFlag(func() client.ObjectList { return &v1alpha1.ClusterList{} }))
	flags.StringVar(&o.ClusterSelector, "cluster-selector", "", "for the clusters whose labels match, for example tier=shop")
	flags.DurationVar(&o.Interval, "interval", 10*time.Minute, "time between two full verifications")
	flags.DurationVar(&o.RetryInterval, "retry-interval", 0, "time between two tries after a failure (default: the interval)")
	flags.DurationVar(&o.Timeout, "health-check-timeout", 0, "how long objects may take to be healthy")
	flags.BoolVar(&o.Prune, "prune", true, "delete what is gone from the source")
	flags.BoolVar(&o.HealthWait, "wait-for-health", true, "spec.wait: be ready when all objects are healthy")
	flags.BoolVar(&o.Force, "force", false, "recreate what cannot be changed")
	flags.StringSliceVar(&o.DependsOn, "depends-on", nil, "kustomization that must be ready first, as NAME or NAMESPACE/NAME")
	flags.StringVar(&o.TargetNamespace, "target-namespace", "", "namespace of all objects")
	flags.StringVar(&o.DecryptionProvider, "decryption-provider", "", "sops")
	flags.StringVar(&o.DecryptionSecret, "decryption-secret", "", "Secret with the keys, see 'skerry create secret age'")
	flags.BoolVar(&o.AllAtOnce, "all-at-once", false, "apply a change on all clusters at once, instead of in stages")
	flags.BoolVar(&o.Wait, "wait", true, "wait until it is ready")
	return cmd
}

func runKustomization(ctx context.Context, o *KustomizationOptions) error {
	ks, err := kustomization(o)
	if err != nil {
		return err
	}
	if err := o.put(ctx, ks, "kustomization"); err != nil || !o.Wait {
		return err
	}
	return o.waitReady(ctx, ks, func() int64 { return ks.Status.ObservedGeneration }, "kustomization")
}

// kustomization returns the object that the flags describe.
func kustomization(o *KustomizationOptions) (*v1alpha1.Kustomization, error) {
	in, err := o.meta()
	if err != nil {
		return nil, err
	}
	ref, err := sourceRef(o.Source)
	if err != nil {
		return nil, err
	}
	ks := &v1alpha1.Kustomization{ObjectMeta: in, Spec: v1alpha1.KustomizationSpec{
		SourceRef: ref, Path: o.Path, Interval: metav1.Duration{Duration: o.Interval}, Prune: &o.Prune, Wait: &o.HealthWait,
		Force: o.Force, TargetNamespace: o.TargetNamespace,
	}}
	if o.RetryInterval > 0 {
		ks.Spec.RetryInterval = &metav1.Duration{Duration: o.RetryInterval}
	}
	if o.Timeout > 0 {
		ks.Spec.Timeout = &metav1.Duration{Duration: o.Timeout}
	}
	if ks.Spec.Clusters, err = targets(o); err != nil {
		return nil, err
	}
	if o.AllAtOnce {
		ks.Spec.Rollout = &v1alpha1.Rollout{Strategy: v1alpha1.RolloutAllAtOnce}
	}
	for _, name := range o.DependsOn {
		d := v1alpha1.DependencyReference{Name: name}
		if namespace, rest, ok := strings.Cut(name, "/"); ok {
			d.Namespace, d.Name = namespace, rest
		}
		ks.Spec.DependsOn = append(ks.Spec.DependsOn, d)
	}
	switch {
	case o.DecryptionProvider == "" && o.DecryptionSecret != "":
		return nil, factory.Usagef("--decryption-secret goes with --decryption-provider=sops")
	case o.DecryptionProvider != "" && o.DecryptionProvider != "sops":
		return nil, factory.Usagef("--decryption-provider must be sops")
	case o.DecryptionProvider != "":
		ks.Spec.Decryption = &v1alpha1.Decryption{Provider: o.DecryptionProvider}
		if o.DecryptionSecret != "" {
			ks.Spec.Decryption.SecretRef = &meta.LocalObjectReference{Name: o.DecryptionSecret}
		}
	}
	return ks, nil
}

func targets(o *KustomizationOptions) (*v1alpha1.ClusterTargets, error) {
	if len(o.Clusters) == 0 && o.ClusterSelector == "" {
		return nil, nil //nolint:nilnil // the hub's own cluster
	}
	t := &v1alpha1.ClusterTargets{Names: o.Clusters}
	if o.ClusterSelector == "" {
		return t, nil
	}
	selector, err := metav1.ParseToLabelSelector(o.ClusterSelector)
	if err != nil {
		return nil, factory.Usagef("--cluster-selector: %w", err)
	}
	t.Selector = selector
	return t, nil
}

// sourceRef reads NAME, KIND/NAME and KIND/NAME.NAMESPACE, as Flux's flag has it.
func sourceRef(text string) (v1alpha1.SourceReference, error) {
	ref := v1alpha1.SourceReference{Kind: v1alpha1.GitRepositoryKind, Name: text}
	if kind, name, ok := strings.Cut(text, "/"); ok {
		if !strings.EqualFold(kind, v1alpha1.GitRepositoryKind) {
			return ref, factory.Usagef("--source: %q is no kind of source; there is %s", kind, v1alpha1.GitRepositoryKind)
		}
		ref.Name = name
	}
	if name, namespace, ok := strings.Cut(ref.Name, "."); ok {
		ref.Name, ref.Namespace = name, namespace
	}
	if ref.Name == "" {
		return ref, factory.Usagef("--source is missing: the source, as NAME or GitRepository/NAME")
	}
	return ref, nil
}

// ClusterOptions of `create cluster`.
type ClusterOptions struct {
	Common
	KubeConfigSecret, KubeConfigKey string
	Agent                           bool
	Vars                            []string
	DeletionPolicy                  string
}

// NewCmdCluster returns the command; runF replaces what it runs, for tests.
func NewCmdCluster(f *factory.Factory, runF func(context.Context, *ClusterOptions) error) *cobra.Command {
	o := &ClusterOptions{Common: Common{Factory: f}}
	if runF == nil {
		runF = runCluster
	}
	cmd := &cobra.Command{
		Use:     "cluster NAME",
		Aliases: []string{"cl"},
		Short:   "Create a Cluster for a kubeconfig that a Secret has already",
		Long: `Create a Cluster for a kubeconfig that a Secret has already, as Cluster API and other
provisioners write it. 'skerry cluster join' makes the Secret too, with an account of its own.`,
		Example: `  skerry create cluster shop-1 --kubeconfig-secret-ref shop-1-kubeconfig \
    --label tier=shop --var region=north --export`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return runF(cmd.Context(), o)
		},
	}
	addCommon(cmd, &o.Common)
	flags := cmd.Flags()
	flags.StringVar(&o.KubeConfigSecret, "kubeconfig-secret-ref", "", "Secret with the kubeconfig")
	flags.StringVar(&o.KubeConfigKey, "kubeconfig-secret-key", "", "key in it (default: value, or value.yaml)")
	flags.BoolVar(&o.Agent, "agent", false, "the cluster reaches the hub by an agent")
	flags.StringArrayVar(&o.Vars, "var", nil, "variable of the cluster, as key=value; can be given again")
	flags.StringVar(&o.DeletionPolicy, "deletion-policy", "", "what becomes of what was applied when the Cluster is deleted: Delete, Orphan or Abandon")
	return cmd
}

func runCluster(ctx context.Context, o *ClusterOptions) error {
	c, err := clusterOf(o)
	if err != nil {
		return err
	}
	return o.put(ctx, c, "cluster")
}

var variable = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// clusterOf returns the object that the flags describe.
func clusterOf(o *ClusterOptions) (*v1alpha1.Cluster, error) {
	in, err := o.meta()
	if err != nil {
		return nil, err
	}
	if (o.KubeConfigSecret == "") != o.Agent {
		return nil, factory.Usagef("one of --kubeconfig-secret-ref and --agent is needed")
	}
	c := &v1alpha1.Cluster{ObjectMeta: in}
	if o.Agent {
		c.Spec.Agent = &v1alpha1.Agent{}
	} else {
		c.Spec.KubeConfig = &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: o.KubeConfigSecret, Key: o.KubeConfigKey}}
	}
	for _, v := range o.Vars {
		key, value, ok := strings.Cut(v, "=")
		if !ok || !variable.MatchString(key) || key == "cluster_name" || key == "cluster_namespace" {
			return nil, factory.Usagef("--var %q must be key=value, where the key has letters, digits and '_', and is none of the hub's", key)
		}
		if c.Spec.Vars == nil {
			c.Spec.Vars = map[string]v1alpha1.VarValue{}
		}
		c.Spec.Vars[key] = v1alpha1.VarValue(value)
	}
	switch policy := strings.ToLower(o.DeletionPolicy); policy {
	case "":
	case "delete", "orphan", "abandon":
		c.Spec.DeletionPolicy = v1alpha1.ClusterDeletionPolicy(strings.ToUpper(policy[:1]) + policy[1:])
	default:
		return nil, factory.Usagef("--deletion-policy must be Delete, Orphan or Abandon")
	}
	return c, nil
}
