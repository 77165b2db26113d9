package bootstrap

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/internal/cli/create"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/githost"
	"github.com/skerry-dev/skerry/internal/cli/preflight"
)

// ProviderOptions are those of a bootstrap from a server whose API makes the repository.
type ProviderOptions struct {
	*Options
	Owner, Repository, Hostname, SSHHostname string
	Personal, Private                        bool
	Teams                                    []string
	TokenAuth, ReadWriteKey                  bool

	provider provider
}

// provider is one kind of server.
type provider struct {
	name, title, owner, tokenEnv string
	// hostname is that of the public server; empty where there is none.
	hostname string
	// bearer means that Git takes the token without a user name.
	bearer bool
	open   func(githost.Options) (githost.Host, error)
}

var providers = []provider{
	{"github", "GitHub", "organization, or user with --personal", "GITHUB_TOKEN", "github.com", false, githost.GitHub},
	{"gitlab", "GitLab", "group, or user with --personal", "GITLAB_TOKEN", "gitlab.com", false, githost.GitLab},
	{"gitea", "Gitea or Forgejo", "organization, or user with --personal", "GITEA_TOKEN", "gitea.com", false, githost.Gitea},
	{"bitbucket-server", "Bitbucket Data Center", "key or name of a project, or user with --personal", "BITBUCKET_TOKEN", "", true, githost.BitbucketServer},
}

// newCmdProvider returns the command for one kind of server.
func newCmdProvider(f *factory.Factory, p provider) *cobra.Command {
	o := &ProviderOptions{provider: p, Options: &Options{Factory: f, serverVersion: func(ctx context.Context, hub *factory.Hub) (string, error) {
		return preflight.Version(ctx, hub.Config)
	}}}
	at := ""
	if p.hostname == "" {
		at = " --hostname git.example.com"
	}
	cmd := &cobra.Command{
		Use:   p.name,
		Short: "Bootstrap from " + p.title + ", and make the repository there",
		Long: fmt.Sprintf(`Bootstrap from %s. This makes the repository, unless it is there, and then does what
'skerry bootstrap git' does. The token, from %s or one of the --token flags, makes
the repository and pushes; the hub reads with a deploy key of its own, or with the token if
--token-auth is given. Running it again goes on where an earlier run stopped, or changes nothing.`, p.title, p.tokenEnv),
		Example: fmt.Sprintf(`  # A private repository of an organization
  skerry bootstrap %[1]s%[2]s --owner team --repository fleet --path clusters/hub

  # Of a user, with the token for the hub too
  skerry bootstrap %[1]s%[2]s --owner ann --repository fleet --personal --token-auth`, p.name, at),
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runProvider(cmd.Context(), o) },
	}
	addProviderFlags(cmd, o)
	return cmd
}

func addProviderFlags(cmd *cobra.Command, o *ProviderOptions) {
	host := "host name of the server (default: the public one)"
	if o.provider.hostname == "" {
		host = "host name of the server"
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Owner, "owner", "", o.provider.owner)
	flags.StringVar(&o.Repository, "repository", "", "name of the repository")
	flags.BoolVar(&o.Personal, "personal", false, "the owner is the user of the token")
	flags.BoolVar(&o.Private, "private", true, "a repository that is made is private")
	flags.StringVar(&o.Hostname, "hostname", "", host)
	flags.StringVar(&o.SSHHostname, "ssh-hostname", "", "host name for SSH, with a port if need be (default: what the server says)")
	flags.StringSliceVar(&o.Teams, "team", nil, "team that gets access; can be given again")
	flags.BoolVar(&o.TokenAuth, "token-auth", false, "let the hub read with the token, over HTTPS, instead of a deploy key")
	flags.BoolVar(&o.ReadWriteKey, "read-write-key", false, "let the deploy key push too")
	create.AddKeyFlags(cmd, &o.Key, "the deploy key that is made")
	addSharedFlags(cmd, o.Options)
	if username := flags.Lookup("username"); o.provider.bearer {
		o.Username, username.DefValue = "", ""
		username.Usage = "user name that goes with the token (default: none, the token is shown as a bearer token)"
	}
}

// push is how the command pushes, where the hub reads another way.
type push struct {
	url    string
	secret map[string][]byte
}

func (o *ProviderOptions) checkProvider() error {
	switch {
	case o.Owner == "" || o.Repository == "":
		return factory.Usagef("--owner and --repository are needed")
	case o.Hostname == "" && o.provider.hostname == "":
		return factory.Usagef("--hostname is needed: there is no public server")
	case strings.Contains(o.Repository, "/"):
		return factory.Usagef("--repository is a name, without the owner")
	case o.Personal && len(o.Teams) > 0:
		return factory.Usagef("--team goes with an organization, and not with --personal")
	case o.TokenAuth && (o.ReadWriteKey || o.SSHHostname != ""):
		return factory.Usagef("--read-write-key and --ssh-hostname do not go with --token-auth: there is no deploy key")
	}
	return o.checkShared()
}

func runProvider(ctx context.Context, o *ProviderOptions) error {
	if err := o.checkProvider(); err != nil {
		return err
	}
	hub, err := o.Factory.Hub()
	if err != nil {
		return err
	}
	if o.sign, err = o.signer(); err != nil {
		return err
	}
	r := &run{Options: o.Options, hub: hub}
	token, err := o.providerToken(r)
	if err != nil {
		return err
	}
	access, client, err := o.access(r, token)
	if err != nil {
		return err
	}
	host, err := o.provider.open(githost.Options{Hostname: o.Hostname, Token: string(token), Client: client})
	if err != nil {
		return &factory.UsageError{Err: err}
	}
	bounded, cancel := o.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	steps := o.Steps()
	if err := steps.Do("cluster", func(s *factory.Step) error { return r.checkCluster(bounded, s) }); err != nil {
		return err // nothing is made on a server for a cluster that does not take it
	}
	repository := githost.Repository{Owner: o.Owner, Name: o.Repository, Personal: o.Personal, Private: o.Private, Description: "Kept by Skerry"}
	if err := steps.Do(o.provider.title, func(s *factory.Step) error { return o.ensure(bounded, host, repository, access, s) }); err != nil {
		return err
	}
	if o.preset = access.secret; !o.TokenAuth {
		if err := steps.Do("deploy key", func(s *factory.Step) error { return o.deployKey(bounded, r, host, repository, s) }); err != nil {
			return err
		}
	}
	o.TokenFile, o.TokenEnv, o.TokenStdin, o.CAFile = "", "", false, "" // read already
	o.push = access
	return runGit(ctx, o.Options)
}

// providerToken is that of a flag, of the environment variable that people know, or of the person at the terminal.
func (o *ProviderOptions) providerToken(r *run) ([]byte, error) {
	token, err := r.token()
	if err != nil {
		return nil, err
	}
	if len(token) == 0 {
		token = []byte(o.Getenv(o.provider.tokenEnv))
	}
	if len(token) == 0 && o.IO.CanPrompt() {
		if token, err = o.IO.Password("Token for " + o.provider.title); err != nil {
			return nil, err
		}
	}
	if token = []byte(strings.TrimSpace(string(token))); len(token) == 0 {
		return nil, factory.Usagef("a token is missing: %s, --token-file, --token-env or --token-stdin", o.provider.tokenEnv)
	}
	return token, nil
}

// access is how the command pushes, and the client of the API, which trusts the same authorities.
func (o *ProviderOptions) access(r *run, token []byte) (*push, *http.Client, error) {
	secret := map[string][]byte{"username": []byte(o.Username), "password": token}
	if o.Username == "" {
		secret = map[string][]byte{"bearerToken": token}
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if o.CAFile != "" {
		ca, err := r.ReadFile(o.CAFile)
		if err != nil {
			return nil, nil, factory.Usagef("cannot read --ca-file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca) {
			return nil, nil, factory.Usagef("--ca-file: %s holds no certificate", o.CAFile)
		}
		secret["ca.crt"] = ca
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &push{secret: secret}, &http.Client{Transport: transport, Timeout: 30 * time.Second}, nil
}

func (o *ProviderOptions) ensure(ctx context.Context, host githost.Host, repository githost.Repository, access *push, s *factory.Step) error {
	urls, made, err := host.Ensure(ctx, repository)
	if err == nil {
		err = githost.CheckClone(urls.HTTPS, cmp.Or(o.Hostname, o.provider.hostname))
	}
	if err == nil {
		err = host.Grant(ctx, repository, o.Teams)
	}
	if err != nil {
		return factory.Next(factory.OtherServer(err), "%s", nextOfHost(err))
	}
	access.url, o.URL = urls.HTTPS, urls.HTTPS
	if !o.TokenAuth {
		if o.URL, err = o.overSSH(urls.SSH); err != nil {
			return err
		}
	}
	what := "is there"
	if made {
		what = "made"
	}
	s.Donef("repository %s/%s %s", repository.Owner, repository.Name, what)
	return nil
}

// nextOfHost is what to do about an error of the provider's API.
func nextOfHost(err error) string {
	_, refused := errors.AsType[*net.OpError](err)
	_, unknown := errors.AsType[*net.DNSError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case untrusted:
		return "give the authority that has signed the server's certificate with --ca-file, and check --hostname"
	case refused, unknown, errors.Is(err, context.DeadlineExceeded):
		return "check --hostname, and that the server can be reached from here"
	}
	return "check --owner, --hostname and what the token may do"
}

func (o *ProviderOptions) overSSH(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "", factory.Next(errors.New("the server names no URL for SSH"), "let it serve SSH, or use --token-auth")
	}
	if o.SSHHostname != "" {
		u.Host = o.SSHHostname
	}
	return u.String(), nil
}

// deployKey lets the hub read: with the key of an earlier run, or a new one.
func (o *ProviderOptions) deployKey(ctx context.Context, r *run, host githost.Host, repository githost.Repository, s *factory.Step) error {
	stored, err := r.stored(ctx)
	if err != nil {
		return err
	}
	if len(stored["identity"]) == 0 || len(stored["identity.pub"]) == 0 || len(stored["known_hosts"]) == 0 {
		if stored, err = create.DeployKey(ctx, o.Factory, o.URL, o.Key); err != nil {
			return err
		}
	}
	added, err := host.Deploy(ctx, repository, githost.Key{Title: name + " " + o.Path, Public: strings.TrimSpace(string(stored["identity.pub"])), ReadOnly: !o.ReadWriteKey})
	if err != nil {
		return factory.Next(factory.OtherServer(err), "let the token add deploy keys, or use --token-auth")
	}
	o.preset = stored
	what := "is there"
	if added {
		what = "added"
	}
	s.Donef("%s", what)
	return nil
}
