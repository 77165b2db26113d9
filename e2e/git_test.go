package e2e

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"

	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/hostapi"
)

// push commits folders of the script; the new commit is in $COMMIT afterwards.
func push(_ context.Context, c call) error {
	branch, change := "main", gitserver.Change{Message: "change", Write: map[string]string{}}
	for {
		if b, ok := c.option("branch"); ok {
			branch = b
		} else if onto, ok := c.option("onto"); ok {
			change.Onto = onto
		} else if link, ok := c.option("link"); ok {
			name, target, _ := strings.Cut(link, "=")
			change.Links = map[string]string{name: target}
		} else if c.flag("only") {
			change.Onto = "none"
		} else {
			break
		}
	}
	for _, name := range c.args {
		files, err := c.folder(name)
		if err != nil {
			return err
		}
		maps.Copy(change.Write, files)
	}
	return c.commit(branch, change)
}

func forget(_ context.Context, c call) error {
	return c.commit("main", gitserver.Change{Message: "forget", Delete: c.args})
}

func (c *call) commit(branch string, change gitserver.Change) error {
	commit, err := c.repo.Commit(branch, change)
	if err != nil {
		return err
	}
	c.ts.Setenv("COMMIT", commit)
	return nil
}

// gitFault says how the case's plain HTTP server behaves.
func gitFault(_ context.Context, c call) error {
	if len(c.args) < 1 {
		return errors.New("wants ok|stop|start|401|hang|trickle|multi_ack|delete-branch")
	}
	switch c.args[0] {
	case "ok":
		c.server.SetFault(nil)
	case "stop":
		return c.server.Stop()
	case "start":
		return c.server.Start()
	case "401":
		c.server.SetFault(gitserver.Status(http.StatusUnauthorized))
	case "hang":
		c.server.SetFault(gitserver.Hang)
	case "multi_ack":
		c.server.SetFault(gitserver.NeedsMultiACK)
	case "trickle":
		c.server.SetFault(gitserver.Trickle)
	case "delete-branch":
		return c.repo.DeleteBranch(c.args[1])
	default:
		return fmt.Errorf("cannot %s", c.args[0])
	}
	return nil
}

// serve starts one more server for the case's repository and sets variables to it:
//
//	serve https USER PASSWORD     URL, and the CA in the file ca.crt
//	serve bearer TOKEN            URL, over TLS as well
//	serve ssh                     URL, and the files identity and known_hosts
func serve(_ context.Context, c call) error {
	if len(c.args) < 1 {
		return errors.New("wants https|bearer|ssh")
	}
	options := gitserver.HTTPOptions{TLS: true}
	switch {
	case c.args[0] == "ssh":
		return c.serveSSH()
	case c.args[0] == "https" && len(c.args) == 3:
		options.Username, options.Password = c.args[1], c.args[2]
	case c.args[0] == "bearer" && len(c.args) == 2:
		options.Token = c.args[1]
	default:
		return fmt.Errorf("cannot serve %s", strings.Join(c.args, " "))
	}
	server, err := c.host.ServeHTTP(options)
	if err != nil {
		return err
	}
	c.ts.Setenv("URL", server.URL(c.repo))
	return os.WriteFile(c.ts.MkAbs("ca.crt"), server.CA(), 0o600)
}

// serveHost starts the API of a kind of server whose repository team/fleet is the case's: it is there once it was made,
// is pushed to with the token, and read with a deploy key, the newest one, or with the token:
//
//	githost KIND TOKEN
//
// $API is its URL, and the authorities of both servers are in the file ca.crt.
func serveHost(_ context.Context, c call) error {
	if len(c.args) != 2 {
		return errors.New("wants KIND TOKEN")
	}
	options := gitserver.HTTPOptions{TLS: true, Username: "git", Password: c.args[1]}
	if c.args[0] == "bitbucket-server" {
		options = gitserver.HTTPOptions{TLS: true, Token: c.args[1]}
	}
	web, err := c.host.ServeHTTP(options)
	if err != nil {
		return err
	}
	ssh, err := c.host.ServeSSH()
	if err != nil {
		return err
	}
	api, err := hostapi.New(hostapi.Options{
		Kind: c.args[0], Token: c.args[1], HTTPS: web.URL(c.repo), SSH: ssh.URL(c.repo), TLS: true,
		OnKey: func(k hostapi.Key) error { return ssh.Allow(k.Text) },
	})
	if err != nil {
		return err
	}
	c.t.Cleanup(api.Close)
	c.ts.Setenv("API", api.URL)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	return os.WriteFile(c.ts.MkAbs("ca.crt"), append(ca, web.CA()...), 0o600)
}

func (c *call) serveSSH() error {
	server, err := c.host.ServeSSH()
	if err != nil {
		return err
	}
	identity, err := server.Identity("")
	if err != nil {
		return err
	}
	c.ssh = server
	c.ts.Setenv("URL", server.URL(c.repo))
	return errors.Join(
		os.WriteFile(c.ts.MkAbs("identity"), identity, 0o600),
		os.WriteFile(c.ts.MkAbs("known_hosts"), server.KnownHosts(), 0o600),
	)
}

// loadVariable sets a variable to the contents of a file, indented so that it fits into a YAML block:
//
//	load NAME FILE [INDENT]
func loadVariable(_ context.Context, c call) error {
	if len(c.args) < 2 {
		return errors.New("wants NAME FILE [INDENT]")
	}
	indent := strings.Join(c.args[2:], "")
	text := strings.TrimRight(c.ts.ReadFile(c.args[1]), "\n")
	c.ts.Setenv(c.args[0], strings.ReplaceAll(text, "\n", "\n"+indent))
	return nil
}
