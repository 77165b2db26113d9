package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/create"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/gitpush"
	"github.com/skerry-dev/skerry/internal/cli/install"
	"github.com/skerry-dev/skerry/internal/git"
)

// check refuses what is wrong with the command line, and cleans the path.
func (o *Options) check() error {
	if err := o.checkShared(); err != nil {
		return err
	}
	if err := o.checkURL(); err != nil {
		return err
	}
	ssh, tokens := o.ssh(), o.tokens()
	switch {
	case ssh && (tokens > 0 || o.CAFile != ""):
		return factory.Usagef("a token or --ca-file does not go with an ssh URL: give --private-key-file and --known-hosts-file")
	case !ssh && (o.PrivateKeyFile != "" || o.KnownHostsFile != "" || o.PassphraseFile != ""):
		return factory.Usagef("--private-key-file, --passphrase-file and --known-hosts-file go with an ssh URL")
	case (o.PrivateKeyFile == "") != (o.KnownHostsFile == ""):
		return factory.Usagef("--private-key-file and --known-hosts-file go together: 'ssh-keyscan HOST > known_hosts' writes the latter, compare it with what the server's owner says")
	}
	return nil
}

// checkShared refuses what is wrong with the flags that every way to bootstrap has, before a server is asked to make
// anything, and cleans the path.
func (o *Options) checkShared() error {
	if err := o.SystemNamespaceOnly(); err != nil {
		return err
	}
	for _, err := range []error{install.ValidHubID(o.HubID), install.CheckComponents(&o.Options), o.checkSigning(), create.CheckKey(o.Key)} {
		if err != nil {
			return err
		}
	}
	switch cleaned := path.Clean(o.Path); {
	case o.Branch == "":
		return factory.Usagef("--branch is empty")
	case path.IsAbs(o.Path) || cleaned == ".." || strings.HasPrefix(cleaned, "../"):
		return factory.Usagef("--path %q must be relative to the root of the repository and stay inside", o.Path)
	case o.Interval < time.Second || o.Interval > 24*time.Hour:
		return factory.Usagef("--interval must lie between 1s and 24h")
	case o.tokens() > 1:
		return factory.Usagef("--token-file, --token-env and --token-stdin are three ways to give one token: choose one")
	default:
		o.Path = cleaned
	}
	return nil
}

// tokens counts the ways in which a token is given.
func (o *Options) tokens() int {
	n := 0
	for _, given := range []bool{o.TokenFile != "", o.TokenEnv != "", o.TokenStdin} {
		if given {
			n++
		}
	}
	return n
}

func (o *Options) checkURL() error {
	if o.URL == "" {
		return factory.Usagef("--url is missing: the URL of the repository")
	}
	switch _, err := git.Scheme(o.URL); {
	case errors.Is(err, git.ErrCredentialsInURL):
		return factory.Next(factory.Usagef("--url holds credentials, which everybody would see in the GitRepository"),
			"take them out; give the token with --token-file, --token-env or --token-stdin")
	case err != nil:
		// The URL is not repeated: it may hold what it should not.
		return factory.Usagef("--url must be an http, https or ssh URL with a host and a path, or user@host:path: %w", err)
	}
	return nil
}

// ssh reports whether a URL is one of ssh, not of http or https.
func (o *Options) ssh() bool {
	scheme, err := git.Scheme(o.URL)
	return err == nil && scheme == "ssh"
}

// cleanPath brings a path into the form in which two are compared.
func cleanPath(p string) string { return path.Clean(strings.TrimPrefix(p, "./")) }

func branchOf(source *v1alpha1.GitRepository) string {
	if source.Spec.Reference == nil {
		return ""
	}
	return source.Spec.Reference.Branch
}

// checkRepository finds out whether the repository can be read and, as far as its server answers
// beforehand, pushed to.
func (r *run) checkRepository(ctx context.Context, s *factory.Step) error {
	from, err := r.readCredentials(ctx)
	if err != nil {
		return err
	}
	url, secret := r.URL, r.secret
	if r.push != nil {
		url, secret = r.push.url, r.push.secret
	}
	if r.remote, err = gitpush.Open(url, secret, http.ProxyFromEnvironment); err != nil {
		return gitError(url, err)
	}
	if _, err := r.remote.Head(ctx, r.Branch); err != nil {
		return gitError(url, err)
	}
	if err := r.remote.MayPush(ctx); err != nil {
		return gitError(url, err)
	}
	s.Donef("%s can be read and pushed to, %s", url, from)
	return nil
}

// gitError adds what to do about an error of the Git server, which is not the hub's API server.
func gitError(url string, err error) error {
	if !strings.Contains(err.Error(), url) { // most name it themselves
		err = fmt.Errorf("%s: %w", url, err)
	}
	err = factory.OtherServer(err)
	var branch *gitpush.BranchError
	switch {
	case errors.As(err, &branch) && len(branch.Known) > 0:
		near := factory.Nearest(branch.Branch, branch.Known)
		if len(near) == 0 {
			near = branch.Known
		}
		return factory.Next(err, "push the branch first, or follow another one: --branch %s", near[0])
	case errors.Is(err, git.ErrAuthenticationFailed):
		return factory.Next(err, "give a token (--token-file, --token-env or --token-stdin) or key that may read and push")
	case errors.Is(err, git.ErrRepositoryNotFound):
		return factory.Next(err, "make the repository on the server first, and check --url and what the credentials may see")
	case errors.Is(err, git.ErrHostKeyRefused):
		return factory.Next(err, "'ssh-keyscan HOST' shows the server's keys; compare them with what its owner says before you put them into --known-hosts-file")
	case errors.Is(err, gitpush.ErrPushRefused):
		return factory.Next(err, "let these credentials push to the branch, or bootstrap from a branch that is not protected")
	}
	return factory.Next(err, "check --url, and that the server can be reached from here")
}
