// Package bootstrap is the command that puts a hub onto a cluster and lets it keep itself up to date
// from Git.
//
// It promises that it can be killed at any point and run again: each step first looks at what is
// there, and a run that finds everything as wanted changes nothing.
package bootstrap

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/components"
	"github.com/skerry-dev/skerry/internal/cli/create"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/gitpush"
	"github.com/skerry-dev/skerry/internal/cli/install"
	"github.com/skerry-dev/skerry/internal/cli/preflight"
)

// name is that of the GitRepository, the Kustomization, the Secret and the folder in Git.
const name = v1alpha1.SystemNamespace

// Options of the command.
type Options struct {
	*factory.Factory
	components.Options

	URL, Branch, Path string
	Interval          time.Duration

	Username                       string
	TokenFile, TokenEnv            string
	TokenStdin                     bool
	PrivateKeyFile, PassphraseFile string
	KnownHostsFile, CAFile         string
	Key                            create.KeyOptions
	AuthorName, AuthorEmail        string
	CommitMessageAppendix          string
	// AllowDowngrade lets an older version take the place of the one that is there.
	AllowDowngrade bool

	GPGKeyRing, GPGKeyID, GPGPassphrase string
	SSHSigningKeyFile                   string
	SigningPassphraseFile               string

	// preset are the credentials that the hub gets, where they come from no flag.
	preset map[string][]byte
	// push is how the command pushes; nil: as the hub reads.
	push *push
	// sign signs the commit; nil where it is not to be signed, or not known yet.
	sign gitpush.Signer

	// serverVersion asks the hub's API server and refuses one that is too old.
	serverVersion func(context.Context, *factory.Hub) (string, error)
}

// NewCmdBootstrap returns the command; runF replaces what its subcommand runs, for tests.
func NewCmdBootstrap(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Put a hub onto a cluster that keeps itself up to date from Git",
		Example: `  skerry bootstrap git --url https://git.example.com/team/fleet.git \
    --branch main --path clusters/hub --token-file ~/.git-token`,
	}
	factory.Group(cmd)
	cmd.AddCommand(NewCmdGit(f, runF))
	for _, p := range providers {
		cmd.AddCommand(newCmdProvider(f, p))
	}
	return cmd
}

// NewCmdGit returns the command; runF replaces what it runs, for tests.
func NewCmdGit(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f, serverVersion: func(ctx context.Context, hub *factory.Hub) (string, error) {
		return preflight.Version(ctx, hub.Config)
	}}
	if runF == nil {
		runF = runGit
	}
	cmd := &cobra.Command{
		Use:   "git",
		Short: "Bootstrap from any Git server, over HTTPS or SSH",
		Long: `Bootstrap from any Git server, over HTTPS or SSH. This commits the hub's manifests to
PATH/skerry-system, applies them to the cluster, stores the credentials in the Secret skerry-system,
and waits until the hub has applied everything below PATH from Git, itself included.

It never forces a push. Running it again goes on where an earlier run stopped, brings the hub to
this version, or changes nothing. PATH/skerry-system/kustomization.yaml is yours once it is
there: patch the hub there.

A token is read from a file, from the environment or from standard input, never from the command
line, where every process on the machine can see it. Without any, the credentials of an earlier
run are used.`,
		Example: `  # HTTPS, with a token that may push
  skerry bootstrap git --url https://git.example.com/team/fleet.git \
    --branch main --path clusters/hub --token-file ~/.git-token
  pass git-token | skerry bootstrap git --url https://git.example.com/team/fleet.git \
    --path clusters/hub --token-stdin

  # SSH, with a key that is made now and that the server is then given, at a terminal
  skerry bootstrap git --url ssh://git@git.example.com/team/fleet.git --path clusters/hub

  # SSH, with a deploy key that may push
  ssh-keyscan git.example.com > known_hosts   # and compare it with what the server's owner says
  skerry bootstrap git --url ssh://git@git.example.com/team/fleet.git --path clusters/hub \
    --private-key-file id_ed25519 --known-hosts-file known_hosts

  # A commit that is signed, by a GPG or by an SSH key
  skerry bootstrap git --url https://git.example.com/team/fleet.git --token-env TOKEN \
    --gpg-key-ring secring.gpg --author-name Ann --author-email ann@example.com
  skerry bootstrap git --url https://git.example.com/team/fleet.git --token-env TOKEN \
    --ssh-signing-key-file ~/.ssh/id_ed25519

  # A hub that runs outside of the cluster
  skerry bootstrap git --url https://git.example.com/team/fleet.git --crds-only --token-env TOKEN`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), o) },
	}
	addFlags(cmd, o)
	return cmd
}

func addFlags(cmd *cobra.Command, o *Options) {
	flags := cmd.Flags()
	flags.StringVar(&o.URL, "url", "", "URL of the repository: http, https, ssh or user@host:path")
	flags.StringVar(&o.PrivateKeyFile, "private-key-file", "", "file with the private SSH key")
	flags.StringVar(&o.PassphraseFile, "passphrase-file", "", "file with the passphrase of the private key")
	flags.StringVar(&o.KnownHostsFile, "known-hosts-file", "", "file with the SSH server's host key")
	for _, file := range []string{"private-key-file", "passphrase-file", "known-hosts-file"} {
		_ = cmd.MarkFlagFilename(file)
	}
	create.AddKeyFlags(cmd, &o.Key, "a key that is made because none is given")
	addSharedFlags(cmd, o)
}

// addSharedFlags adds those that every way to bootstrap has.
func addSharedFlags(cmd *cobra.Command, o *Options) {
	flags := cmd.Flags()
	flags.StringVar(&o.Branch, "branch", "main", "branch to push to and to follow")
	flags.StringVar(&o.Path, "path", "clusters/hub", "folder in the repository with what the hub's cluster is to have")
	flags.DurationVar(&o.Interval, "interval", time.Minute, "time between two looks at the branch")
	flags.StringVar(&o.Username, "username", "git", "user name that goes with the token")
	flags.StringVar(&o.TokenFile, "token-file", "", "file with the token or password")
	flags.StringVar(&o.TokenEnv, "token-env", "", "name of the environment variable with the token or password")
	flags.BoolVar(&o.TokenStdin, "token-stdin", false, "read the token or password from standard input")
	flags.StringVar(&o.CAFile, "ca-file", "", "file with the certificate authority of the HTTPS server")
	flags.StringVar(&o.AuthorName, "author-name", "Skerry", "author of the commit")
	flags.StringVar(&o.AuthorEmail, "author-email", "skerry@localhost", "email address of the author")
	flags.StringVar(&o.CommitMessageAppendix, "commit-message-appendix", "", "text at the end of the commit's message, as '[ci skip]'")
	addSigningFlags(cmd, o)
	install.AddFlags(cmd, &o.Options, o.Factory.Version)
	install.AddDowngradeFlag(cmd, &o.AllowDowngrade)
	flags.Lookup("hub-id").Usage = "identity of the hub in the labels of what it applies (default: that in Git, or one made of URL and path)"
	for _, file := range []string{"token-file", "ca-file"} {
		_ = cmd.MarkFlagFilename(file)
	}
}

// run is one run of the command, with what its steps find out for those after them.
type run struct {
	*Options
	hub    *factory.Hub
	secret map[string][]byte
	remote *gitpush.Remote
	// pushed is what the branch holds with our files in it.
	pushed *gitpush.Snapshot
	set    manifests
	// kept means that a hub is at work that keeps itself from Git already.
	kept bool
}

func runGit(ctx context.Context, o *Options) error {
	if err := o.check(); err != nil {
		return err
	}
	ctx, cancel := o.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	hub, err := o.Factory.Hub()
	if err != nil {
		return err
	}
	r := &run{Options: o, hub: hub}
	if o.sign == nil {
		if o.sign, err = o.signer(); err != nil {
			return err
		}
	}
	type part struct {
		title string
		run   func(context.Context, *factory.Step) error
	}
	parts := []part{
		{"repository", r.checkRepository},
		{"commit", r.commit},
		{"components", r.applyComponents},
		{"credentials", r.storeCredentials},
		{"sync", r.applySync},
		{"reconcile", r.waitForHub},
		{"hand over", r.handOver},
	}
	if o.push == nil { // otherwise the cluster was checked before the provider was asked
		parts = append([]part{{"cluster", r.checkCluster}}, parts...)
	}
	steps := o.Steps()
	for _, step := range parts {
		if err := steps.Do(step.title, func(s *factory.Step) error { return step.run(ctx, s) }); err != nil {
			return err
		}
	}
	o.IO.Progressf("%s", o.IO.WrapProgress(fmt.Sprintf("the hub keeps itself on %s, path %s: from here on, push", o.URL, o.Path), ""))
	return nil
}

// checkCluster finds out whether the cluster will take it, and whether a hub there reads from
// elsewhere: to be sent to another path, it would prune what is only in the old one.
func (r *run) checkCluster(ctx context.Context, s *factory.Step) error {
	version, err := r.serverVersion(ctx, r.hub)
	if err != nil {
		return err
	}
	if err := preflight.Permissions(ctx, r.hub, preflight.Bootstrap()); err != nil {
		return err
	}
	if err := preflight.Extras(r.hub, r.Extra); err != nil {
		return err
	}
	if err := preflight.Upgrade(ctx, r.hub, r.Options.Options.Version, r.AllowDowngrade); err != nil {
		return err
	}
	source, root, err := r.readSync(ctx)
	if err != nil {
		return err
	}
	old := fmt.Sprintf("%s, branch %s, path %s", source.Spec.URL, branchOf(source), cleanPath(root.Spec.Path))
	if root.UID != "" && source.UID != "" && (branchOf(source) != r.Branch || cleanPath(root.Spec.Path) != r.Path) {
		return factory.Next(fmt.Errorf("the hub of this cluster reads from %s", old),
			"give the same --branch and --path; to move the hub, first 'kubectl -n %s delete kustomizations.skerry.dev %s', which leaves its objects in place", name, name)
	}
	r.noteFlux(ctx, s)
	s.Donef("Kubernetes %s at %s", version, r.hub.Config.Host)
	return nil
}
