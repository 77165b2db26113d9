package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// playgroundEdges are the clusters of the playground beside that of the hub.
var playgroundEdges = []string{"shop-1", "shop-2", "ship-1"}

// play gives a person what the README's first steps need: four clusters without anything of Skerry's in them and a
// Git server with one empty repository. The folder gets their kubeconfigs and the file env. What is deployed of
// Skerry runs as a process beside its cluster. It returns when ctx ends, or the process that holds a pipe to its standard
// input is gone.
func play(ctx context.Context, s *screen, folder string) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	endWithInput(cancel)
	d := &demo{screen: s}
	defer d.close()
	s.title("Four clusters and a Git server, as processes on this machine")
	err := d.makePlayground(ctx, folder)
	if err == nil {
		var gateway string
		if gateway, err = d.describePlayground(folder); err == nil {
			defer func() { _ = os.RemoveAll(folder) }()
			rig.Node{Gateway: gateway, Log: s.say}.Run(ctx, d.rig, d.dir)
		}
	}
	switch {
	case ctx.Err() != nil:
		s.say("cleaning up")
		return 0
	case err != nil:
		s.failed(err)
	}
	return 1
}

// endWithInput ends with the pipe that standard input is, if it is one.
func endWithInput(cancel func()) {
	info, err := os.Stdin.Stat()
	if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
}

func (d *demo) makePlayground(ctx context.Context, folder string) error {
	if _, err := os.Stat(folder); err == nil {
		return fmt.Errorf("%s is there already: end the other playground, or remove it", folder)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*waitTimeout)
	defer cancel()
	if err := d.makeDir("playground-"); err != nil {
		return err
	}
	d.screen.say("each has an API server, a controller manager, a scheduler and a node on paper, whose Pods become ready")
	options := rig.Options{Dir: d.dir, HubWhole: true}
	for _, name := range playgroundEdges {
		options.Edges = append(options.Edges, rig.EdgeOptions{Name: name, Controllers: true, Pods: true})
	}
	var err error
	if d.rig, err = rig.New(ctx, options); err != nil {
		return err
	}
	server, err := d.rig.Git.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		return err
	}
	if d.repo, err = d.rig.Git.Repo("fleet"); err != nil {
		return err
	}
	d.url = server.URL(d.repo)
	return nil
}

// describePlayground writes the folder, the file env last, and returns the address of the gateway.
func (d *demo) describePlayground(folder string) (gateway string, _ error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	if gateway, err = rig.FreeAddress(); err != nil {
		return "", err
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		return "", err
	}
	files := map[string]string{"hub.yaml": d.rig.HubKubeconfig}
	for _, e := range d.rig.Edges {
		files[e.Name+".yaml"] = e.Kubeconfig
	}
	var errs []error
	for name, from := range files {
		raw, err := os.ReadFile(from)
		errs = append(errs, err, os.WriteFile(filepath.Join(folder, name), raw, 0o600))
	}
	env := fmt.Sprintf("export KUBECONFIG=%s\nexport GIT_URL=%s\nexport GATEWAY=https://%s\n", filepath.Join(folder, "hub.yaml"), d.url, gateway)
	errs = append(errs, os.WriteFile(filepath.Join(folder, "env.new"), []byte(env), 0o600), os.Rename(filepath.Join(folder, "env.new"), filepath.Join(folder, "env")))
	d.screen.title("They stay up until Ctrl-C. In another terminal:")
	d.screen.print("  . " + filepath.Join(folder, "env"))
	for line := range strings.Lines(env) {
		d.screen.say("  %s", strings.TrimSpace(line))
	}
	return gateway, errors.Join(errs...)
}
