// Command demo shows Skerry's whole way on real API servers: one hub, three edges, one Git
// repository. It tells a story step by step and then stays up; with --once it ends after the story,
// with code 1 if any step did not come true.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/linkproxy"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// namespace is where the CLI looks when it is not told otherwise.
const namespace = v1alpha1.SystemNamespace

//go:embed config hub.yaml
var files embed.FS

func main() {
	once := flag.Bool("once", false, "end after the story")
	playground := flag.String("playground", "", "in place of the story: clusters and a Git server to try the README's first steps on, described in this folder")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if *playground != "" {
		os.Exit(play(ctx, newScreen(os.Stdout), *playground))
	}
	os.Exit(run(ctx, newScreen(os.Stdout), *once))
}

// demo is the stage of the story and who is on it.
type demo struct {
	screen *screen
	dir    string
	rig    *rig.Rig
	hub    *rig.Kube
	edges  []*rig.Edge
	region map[string]string
	// ship is the edge that an agent keeps, which dials out; link is what joins it to the hub's gateway.
	ship  *rig.Edge
	agent *rig.Agent
	link  *linkproxy.Proxy
	repo  *gitserver.Repo
	url   string
	clone *clone
	cli   *rig.CLI
}

func run(ctx context.Context, s *screen, once bool) int {
	s.title("Skerry: one hub, three edges, one Git repository")
	d := &demo{screen: s, region: map[string]string{"bergen": "harbour", "faro": "harbour", "galway": "island"}}
	defer d.close()
	started := time.Now()
	err := d.setUp(ctx)
	for i, st := range story {
		if err != nil {
			break
		}
		s.title("%d/%d  %s", i+1, len(story), st.title)
		bounded, cancel := context.WithTimeout(ctx, 2*waitTimeout)
		err = st.run(d, bounded)
		cancel()
	}
	switch {
	case ctx.Err() != nil:
		s.say("interrupted, cleaning up")
		return 130
	case err != nil:
		s.failed(err)
		d.explain()
	default:
		s.title("All %d steps came true, in %s.", len(story), short(time.Since(started)))
	}
	if !once && d.rig != nil {
		d.stay(ctx)
	}
	if err != nil {
		return 1
	}
	return 0
}

// setUp starts everything that the story needs.
func (d *demo) setUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*waitTimeout)
	defer cancel()
	if err := d.makeDir("demo-"); err != nil {
		return err
	}
	started := time.Now()
	var err error
	d.screen.say("starting etcd and four kube-apiservers: hub, bergen, faro, galway. The edges also have a")
	d.screen.say("controller manager, a scheduler and a node, so that Deployments get Pods that become ready.")
	options := rig.Options{Dir: d.dir}
	for _, name := range []string{"bergen", "faro", "galway"} {
		options.Edges = append(options.Edges, rig.EdgeOptions{Name: name, Controllers: true, Pods: true})
	}
	if d.rig, err = rig.New(ctx, options); err != nil {
		return err
	}
	d.hub, d.edges = d.rig.HubKube, d.rig.Edges
	d.screen.saw(time.Since(started), "hub and edges answer")
	if d.cli, err = rig.NewCLI(d.rig.HubKubeconfig); err != nil {
		return err
	}
	if err := d.setUpGit(ctx); err != nil {
		return err
	}
	if err := d.skerry(ctx, "install", "--crds-only"); err != nil {
		return err
	}
	gateway, err := d.openLink()
	if err != nil {
		return err
	}
	d.screen.command("skerry-hub --kubeconfig %s --storage-path %s --gateway-bind-address ...", d.short(d.rig.HubKubeconfig), d.short(d.rig.Hub.Storage()))
	started = time.Now()
	if err := d.rig.Hub.Start(ctx, gateway...); err != nil {
		return err
	}
	d.screen.saw(time.Since(started), "the hub is ready")
	return nil
}

// openLink puts a link that can be cut between the ship's agent and the hub's gateway, and returns the flags of the hub.
func (d *demo) openLink() ([]string, error) {
	bind, err := rig.FreeAddress()
	if err != nil {
		return nil, err
	}
	if d.link, err = linkproxy.Listen(bind); err != nil {
		return nil, err
	}
	d.ship = d.edges[2] // the last stage of a rollout: no other cluster waits for it
	d.agent = rig.NewAgent(rig.AgentOptions{Kubeconfig: d.ship.Kubeconfig, Dir: d.dir, Name: d.ship.Name})
	return []string{"--gateway-bind-address", bind, "--gateway-url", "https://" + d.link.Address()}, nil
}

// makeDir makes the folder of all files, below the repository, so that paths are short to type, and with a name that
// tells runs apart.
func (d *demo) makeDir(prefix string) error {
	root, err := rig.Root()
	if err != nil {
		return err
	}
	parent := filepath.Join(root, ".work")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	rig.SweepDirs(parent, prefix)
	d.dir, err = os.MkdirTemp(parent, fmt.Sprintf("%s%d-", prefix, os.Getpid()))
	return err
}

// setUpGit starts a Git server and pushes the config repository to it.
func (d *demo) setUpGit(ctx context.Context) error {
	server, err := d.rig.Git.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		return err
	}
	if d.repo, err = d.rig.Git.Repo("config"); err != nil {
		return err
	}
	d.url = server.URL(d.repo)
	d.clone = &clone{dir: filepath.Join(d.dir, "config"), screen: d.screen}
	content, err := fs.Sub(files, "config")
	if err != nil {
		return err
	}
	d.screen.command("git clone %s && cd config", d.url)
	if err := os.Mkdir(d.clone.dir, 0o755); err != nil {
		return err
	}
	return errors.Join(
		d.clone.quietly(ctx, "clone", "--quiet", d.url, "."),
		d.clone.fill(content),
		d.clone.quietly(ctx, "config", "user.name", "Skerry"),
		d.clone.quietly(ctx, "config", "user.email", "skerry@example.com"),
		d.clone.quietly(ctx, "add", "."),
		d.clone.git(ctx, "commit", "--quiet", "--message", "A shop: base, overlays and tools"),
		d.clone.git(ctx, "push", "--quiet"),
	)
}

// applyHub applies what a person writes on the hub.
func (d *demo) applyHub(ctx context.Context) error {
	manifests, err := files.ReadFile("hub.yaml")
	if err != nil {
		return err
	}
	text := strings.ReplaceAll(string(manifests), "${URL}", d.url)
	// Also as a file, to go on from here.
	if err := os.WriteFile(filepath.Join(d.dir, "hub.yaml"), []byte(text), 0o644); err != nil {
		return err
	}
	return d.hub.Apply(ctx, text)
}

// explain shows what helps to understand why a step did not come true.
func (d *demo) explain() {
	if d.rig == nil {
		return
	}
	// The story's context may be what ran out.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if d.cli != nil {
		if r, err := d.cli.Run(ctx, "", "status"); err == nil {
			d.screen.say("skerry status:")
			d.screen.quote(r.Stdout + r.Stderr)
		}
	}
	d.screen.say("the end of the hub's log:")
	d.screen.quote(d.rig.Hub.LogTail(15))
	if d.agent != nil {
		d.screen.say("and of the agent's:")
		d.screen.quote(d.agent.LogTail(10))
	}
}

// stay leaves everything up until Ctrl-C.
func (d *demo) stay(ctx context.Context) {
	d.screen.title("Everything stays up until Ctrl-C. To try:")
	d.screen.print(
		"  export PATH=$PWD/bin:$PATH KUBECONFIG="+d.rig.HubKubeconfig,
		"  skerry status",
		"  kubectl get skerry -A",
	)
	for _, e := range d.edges {
		d.screen.print("  KUBECONFIG=" + e.Kubeconfig + " kubectl get all -n shop")
	}
	d.screen.print(
		"  cd "+d.clone.dir+"    # edit, git commit -a, git push",
		"  skerry reconcile source config",
		"  tail -f "+d.rig.Hub.LogFile(),
	)
	<-ctx.Done()
	d.screen.say("cleaning up")
}

func (d *demo) close() {
	if d.agent != nil {
		if err := d.agent.Stop(); err != nil {
			d.screen.failed(err)
		}
	}
	if d.link != nil {
		_ = d.link.Close()
	}
	if d.rig != nil {
		if err := d.rig.Close(); err != nil {
			d.screen.failed(err)
		}
	}
	if d.dir != "" {
		_ = os.RemoveAll(d.dir)
	}
}

// short makes a path of the demo short enough to read.
func (d *demo) short(path string) string {
	if rest, ok := strings.CutPrefix(path, d.dir+string(filepath.Separator)); ok {
		return rest
	}
	return path
}
