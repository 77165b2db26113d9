package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// waitTimeout is how long any one thing of the story may take before it counts as not come true.
const waitTimeout = 60 * time.Second

// step is one thing the story shows.
type step struct {
	title string
	run   func(*demo, context.Context) error
}

var story = []step{
	{"The first sync", (*demo).firstSync},
	{"A commit is pushed and seen on every edge", (*demo).push},
	{"An object is changed by hand, and put back", (*demo).change},
	{"An object is deleted by hand, and created again", (*demo).remove},
	{"An object is removed from Git, and pruned", (*demo).prune},
	{"A commit does not render: it is named, and the edges stay as they were", (*demo).breakRender},
	{"A commit does harm: it stops at the first edge by itself", (*demo).breakHealth},
	{"An edge is switched off: the others go on", (*demo).switchOff},
	{"The edge is back, and catches up", (*demo).switchOn},
	{"An edge is cut off from the hub: drift is put back there, and a restart changes nothing", (*demo).cutOff},
	{"The link is back: the edge catches up, and tells what happened meanwhile", (*demo).reconnect},
}

var (
	settings = rig.Ref{Kind: "configmaps", Namespace: "shop", Name: "settings"}
	notes    = rig.Ref{Kind: "configmaps", Namespace: "tools", Name: "notes"}
	web      = rig.Ref{Kind: "deployments.apps", Namespace: "shop", Name: "web"}
	service  = rig.Ref{Kind: "services", Namespace: "shop", Name: "web"}
	supper   = rig.Ref{Kind: "menus.shop.example.com", Namespace: "shop", Name: "supper"}
	shop     = rig.Ref{Kind: "kustomizations.skerry.dev", Namespace: namespace, Name: "shop"}
)

const settingsFile = "base/settings.yaml"

func (d *demo) firstSync(ctx context.Context) error {
	for _, e := range d.edges {
		if err := d.join(ctx, e); err != nil {
			return err
		}
	}
	d.screen.command("kubectl apply -f hub.yaml    # a GitRepository and two Kustomizations: shop, and tools that depends on it")
	started := time.Now()
	if err := d.applyHub(ctx); err != nil {
		return err
	}
	err := d.onEach(ctx, d.edges, func(ctx context.Context, e *rig.Edge) error {
		// By the controllers of the edge itself: Pods run, and what depends on the shop came after.
		o, err := e.Kube.Await(ctx, web, available)
		if err != nil {
			return err
		}
		replicas, _, _ := unstructured.NestedInt64(o.Object, "status", "availableReplicas")
		if _, err := e.Kube.Await(ctx, notes, rig.Present); err != nil {
			return err
		}
		d.screen.saw(time.Since(started), "%-8s overlay %-8s Deployment web has %d Pods ready, tools are there", e.Name, d.region[e.Name], replicas)
		return nil
	})
	if err != nil {
		return err
	}
	if err := d.awaitReady(ctx, started); err != nil {
		return err
	}
	return d.status(ctx, 0)
}

// join joins an edge: the hub reaches it, or, on the ship, an agent reaches the hub.
func (d *demo) join(ctx context.Context, e *rig.Edge) error {
	joining := time.Now()
	args := []string{"cluster", "join", e.Name, "--from-kubeconfig", e.Kubeconfig, "--var", "region=" + d.region[e.Name]}
	if e != d.ship {
		if err := d.skerry(ctx, args...); err != nil {
			return err
		}
		d.screen.saw(time.Since(joining), "%-8s the hub reaches it, with a ServiceAccount of its own", e.Name)
		return nil
	}
	// There are no containers here: the agent is a process beside its cluster.
	if err := d.skerry(ctx, append(args, "--agent", "--no-deployment", "--wait=false")...); err != nil {
		return err
	}
	d.screen.command("skerry-agent --kubeconfig %s --storage-path %s", d.short(e.Kubeconfig), d.short(d.agent.Storage()))
	if err := d.agent.Start(ctx); err != nil {
		return err
	}
	if _, err := d.hub.Await(ctx, clusterRef(e.Name), rig.MustExpect("Ready=True", "Reachable=True")); err != nil {
		return err
	}
	d.screen.saw(time.Since(joining), "%-8s it reaches the hub, by an agent; the hub has no credentials of it", e.Name)
	return nil
}

func (d *demo) push(ctx context.Context) error {
	if err := d.clone.edit(settingsFile, "currency: EUR", "currency: GBP"); err != nil {
		return err
	}
	started, err := d.commit(ctx, "Take pounds")
	if err != nil {
		return err
	}
	return d.seeCurrency(ctx, d.edges, "GBP", started)
}

func (d *demo) change(ctx context.Context) error {
	e := d.edges[0]
	d.screen.command("kubectl --kubeconfig %s -n shop patch configmap settings -p '{\"data\":{\"currency\":\"DOUBLOON\"}}'", d.short(e.Kubeconfig))
	started, err := e.Kube.Patch(ctx, settings, `{"data":{"currency":"DOUBLOON"}}`)
	if err != nil {
		return err
	}
	if _, err := e.Kube.Await(ctx, settings, rig.MustExpect("data.currency=GBP")); err != nil {
		return err
	}
	d.screen.saw(time.Since(started), "%-8s currency is GBP again: drift is seen by a watch", e.Name)
	return nil
}

func (d *demo) remove(ctx context.Context) error {
	e := d.edges[1]
	before, err := e.Kube.Get(ctx, service)
	if err != nil {
		return err
	}
	d.screen.command("kubectl --kubeconfig %s -n shop delete service web", d.short(e.Kubeconfig))
	started, err := e.Kube.Delete(ctx, service)
	if err != nil {
		return err
	}
	_, err = e.Kube.Await(ctx, service, func(o *unstructured.Unstructured) (bool, string) {
		if ok, why := rig.Present(o); !ok {
			return ok, why
		}
		return o.GetUID() != before.GetUID(), "still the old one"
	})
	if err != nil {
		return err
	}
	d.screen.saw(time.Since(started), "%-8s Service web is there again", e.Name)
	return nil
}

func (d *demo) prune(ctx context.Context) error {
	gone := `---
apiVersion: shop.example.com/v1
kind: Menu
metadata:
  name: supper
  namespace: shop
spec:
  dish: baked cod
  price: 21
`
	if err := d.clone.edit("base/menus.yaml", gone, ""); err != nil {
		return err
	}
	started, err := d.commit(ctx, "No supper any more")
	if err != nil {
		return err
	}
	return d.onEach(ctx, d.edges, func(ctx context.Context, e *rig.Edge) error {
		if _, err := e.Kube.Await(ctx, supper, rig.Absent); err != nil {
			return err
		}
		d.screen.saw(time.Since(started), "%-8s Menu supper is gone, Menu lunch stands", e.Name)
		return nil
	})
}

func (d *demo) breakRender(ctx context.Context) error {
	before, err := d.fingerprint(ctx)
	if err != nil {
		return err
	}
	const file, good, bad = "base/kustomization.yaml", "  - menus.yaml\n", "  - menues.yaml\n"
	if err := d.clone.edit(file, good, bad); err != nil {
		return err
	}
	started, err := d.commit(ctx, "A slip of the finger")
	if err != nil {
		return err
	}
	if _, err := d.hub.Await(ctx, shop, rig.MustExpect("Ready=False")); err != nil {
		return err
	}
	d.screen.saw(time.Since(started), "the hub says that Kustomization shop does not render")
	if err := d.status(ctx, 1, "menues.yaml"); err != nil {
		return err
	}
	after, err := d.fingerprint(ctx)
	if err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("the edges did not stay as they were:\n%s\n%s", before, after)
	}
	d.screen.saw(time.Since(started), "not one object of %d edges was touched", len(d.edges))
	if err := d.clone.git(ctx, "revert", "--no-edit", "HEAD"); err != nil {
		return err
	}
	if err := d.clone.git(ctx, "push", "--quiet"); err != nil {
		return err
	}
	started = time.Now()
	return d.awaitReady(ctx, started)
}

func (d *demo) breakHealth(ctx context.Context) error {
	const file, good, bad = "base/web.yaml", "    spec:\n", "    spec:\n      nodeSelector: {disk: no-node-has-it}\n"
	if err := d.clone.edit(file, good, bad); err != nil {
		return err
	}
	started, err := d.commit(ctx, "Onto nodes that nobody has")
	if err != nil {
		return err
	}
	if _, err := d.hub.Await(ctx, shop, rig.MustExpect("Ready=False", "Ready.reason=RolloutHalted", "status.clusters.failed=1")); err != nil {
		return err
	}
	d.screen.saw(time.Since(started), "the hub has halted the rollout")
	if err := d.status(ctx, 1, "RolloutHalted"); err != nil {
		return err
	}
	for _, e := range d.edges[1:] {
		o, err := e.Kube.Get(ctx, web)
		if err != nil {
			return err
		}
		if nodes, _, _ := unstructured.NestedMap(o.Object, "spec", "template", "spec", "nodeSelector"); len(nodes) > 0 {
			return fmt.Errorf("%s got the commit as well", e.Name)
		}
	}
	d.screen.saw(time.Since(started), "%s has the commit, and its old Pods still serve; the other edges never got it", d.edges[0].Name)
	if err := d.clone.git(ctx, "revert", "--no-edit", "HEAD"); err != nil {
		return err
	}
	if err := d.clone.git(ctx, "push", "--quiet"); err != nil {
		return err
	}
	started = time.Now()
	return d.awaitReady(ctx, started)
}

func (d *demo) switchOff(ctx context.Context) error {
	off := d.edges[1]
	d.screen.command("# pull the plug of %s", off.Name)
	started := time.Now()
	if err := off.Stop(); err != nil {
		return err
	}
	if err := d.clone.edit(settingsFile, "currency: GBP", "currency: NOK"); err != nil {
		return err
	}
	pushed, err := d.commit(ctx, "Take crowns")
	if err != nil {
		return err
	}
	if err := d.seeCurrency(ctx, d.without(off), "NOK", pushed); err != nil {
		return err
	}
	if _, err := d.hub.Await(ctx, clusterRef(off.Name), rig.MustExpect("Reachable=False")); err != nil {
		return err
	}
	d.screen.saw(time.Since(started), "%-8s is known to be unreachable", off.Name)
	if _, err := d.hub.Await(ctx, shop, rig.MustExpect("status.clusters.unreachable=1")); err != nil {
		return err
	}
	return d.status(ctx, 1, off.Name, "nreachable")
}

func (d *demo) switchOn(ctx context.Context) error {
	off := d.edges[1]
	d.screen.command("# plug %s in again", off.Name)
	plugged := time.Now()
	if err := off.Start(ctx); err != nil {
		return err
	}
	d.screen.saw(time.Since(plugged), "%-8s API server answers", off.Name)
	started := time.Now()
	if err := d.seeCurrency(ctx, []*rig.Edge{off}, "NOK", started); err != nil {
		return err
	}
	if err := d.awaitReady(ctx, started); err != nil {
		return err
	}
	return d.status(ctx, 0)
}

// cutOff cuts the link of the ship. The hub calls an edge unreachable when its agent was away for a minute, which the
// story does not wait for.
func (d *demo) cutOff(ctx context.Context) error {
	ship := d.ship
	d.screen.command("# cut the link between %s and the hub", ship.Name)
	d.link.Cut()
	if err := d.doubloon(ctx, "put back without the hub"); err != nil {
		return err
	}
	before, err := ship.Kube.Owned(ctx)
	if err != nil {
		return err
	}
	d.screen.command("# restart the node of %s: its API server and its agent", ship.Name)
	started := time.Now()
	d.agent.Kill()
	if err := ship.Stop(); err != nil {
		return err
	}
	if err := errors.Join(ship.Start(ctx), d.agent.Start(ctx)); err != nil {
		return err
	}
	d.screen.saw(time.Since(started), "%-8s both are up again, and the hub is still away", ship.Name)
	if err := d.doubloon(ctx, "put back from the agent's disk"); err != nil {
		return err
	}
	after, err := ship.Kube.Owned(ctx)
	if err != nil {
		return err
	}
	if b, a := untouched(before), untouched(after); !slices.Equal(b, a) || len(a) == 0 {
		return fmt.Errorf("the restart has changed objects of %s:\n%s\n%s", ship.Name, strings.Join(b, "\n"), strings.Join(a, "\n"))
	}
	d.screen.saw(time.Since(started), "%-8s not one of the other %d objects was touched", ship.Name, len(after)-1)
	if err := d.clone.edit(settingsFile, "currency: NOK", "currency: ISK"); err != nil {
		return err
	}
	pushed, err := d.commit(ctx, "Take other crowns")
	if err != nil {
		return err
	}
	if err := d.seeCurrency(ctx, d.without(ship), "ISK", pushed); err != nil {
		return err
	}
	if _, err := ship.Kube.Await(ctx, settings, rig.MustExpect("data.currency=NOK")); err != nil {
		return err
	}
	d.screen.saw(time.Since(pushed), "%-8s knows nothing of it, and stands on the commit before", ship.Name)
	return nil
}

// without returns the other edges.
func (d *demo) without(edge *rig.Edge) []*rig.Edge {
	return slices.DeleteFunc(slices.Clone(d.edges), func(e *rig.Edge) bool { return e == edge })
}

// untouched leaves out the settings, which the story changes by hand.
func untouched(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		return strings.HasPrefix(l, settings.Kind+"/"+settings.Namespace+"/"+settings.Name+" ")
	})
}

// doubloon changes an object of the ship by hand, and sees it put back.
func (d *demo) doubloon(ctx context.Context, saw string) error {
	before, err := d.ship.Kube.Get(ctx, settings)
	if err != nil {
		return err
	}
	currency := rig.Value(before, "data", "currency")
	d.screen.command("kubectl --kubeconfig %s -n shop patch configmap settings -p '{\"data\":{\"currency\":\"DOUBLOON\"}}'", d.short(d.ship.Kubeconfig))
	started, err := d.ship.Kube.Patch(ctx, settings, `{"data":{"currency":"DOUBLOON"}}`)
	if err != nil {
		return err
	}
	if _, err := d.ship.Kube.Await(ctx, settings, rig.MustExpect("data.currency="+currency)); err != nil {
		return err
	}
	d.screen.saw(time.Since(started), "%-8s currency is %s again: %s", d.ship.Name, currency, saw)
	return nil
}

func (d *demo) reconnect(ctx context.Context) error {
	d.screen.command("# mend the link")
	started := time.Now()
	d.link.Heal()
	if err := d.seeCurrency(ctx, []*rig.Edge{d.ship}, "ISK", started); err != nil {
		return err
	}
	if err := d.awaitReady(ctx, started); err != nil {
		return err
	}
	if _, err := d.hub.Await(ctx, clusterRef(d.ship.Name), rig.MustExpect("Ready=True")); err != nil {
		return err
	}
	if err := d.tellsOf(ctx, "DriftCorrected"); err != nil {
		return err
	}
	return d.status(ctx, 0, "put back")
}

// tellsOf shows what the hub was told of the ship, which must name a reason.
func (d *demo) tellsOf(ctx context.Context, reason string) error {
	for {
		r, err := d.cli.Run(ctx, "", "events", "--for", "cluster/"+d.ship.Name, "--since", "30s")
		if err != nil {
			return err
		}
		if strings.Contains(r.Stdout, reason) {
			d.screen.command("skerry events --for cluster/%s --since 30s", d.ship.Name)
			d.screen.quote(r.Stdout)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the hub was not told of %s: %w\n%s", reason, ctx.Err(), r.Stdout)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// seeCurrency waits until edges have a currency in their settings.
func (d *demo) seeCurrency(ctx context.Context, edges []*rig.Edge, want string, since time.Time) error {
	return d.onEach(ctx, edges, func(ctx context.Context, e *rig.Edge) error {
		if _, err := e.Kube.Await(ctx, settings, rig.MustExpect("data.currency="+want)); err != nil {
			return err
		}
		d.screen.saw(time.Since(since), "%-8s currency is %s", e.Name, want)
		return nil
	})
}

// awaitReady waits until every Kustomization is ready on every cluster at the tip of the branch.
func (d *demo) awaitReady(ctx context.Context, since time.Time) error {
	head, err := d.repo.Resolve("main")
	if err != nil {
		return err
	}
	for _, name := range []string{"shop", "tools"} {
		ref := rig.Ref{Kind: shop.Kind, Namespace: namespace, Name: name}
		if _, err := d.hub.Await(ctx, ref, rig.MustExpect("Ready=True", "status.lastAppliedRevision~"+head+"$", fmt.Sprintf("status.clusters.ready=%d", len(d.edges)))); err != nil {
			return err
		}
	}
	d.screen.saw(time.Since(since), "everything is ready at %.7s", head)
	return nil
}

// commit commits all changes and pushes them. The time is that of the push's end.
func (d *demo) commit(ctx context.Context, message string) (time.Time, error) {
	err := errors.Join(
		d.clone.git(ctx, "commit", "--quiet", "--all", "--message", message),
		d.clone.git(ctx, "push", "--quiet"),
	)
	return time.Now(), err
}

// status runs `skerry status`, which must end with the code and name the words.
func (d *demo) status(ctx context.Context, code int, words ...string) error {
	d.screen.command("skerry status    # exit code %d", code)
	r, err := d.cli.Run(ctx, "", "status")
	if err != nil {
		return err
	}
	d.screen.quote(r.Stdout)
	if r.Code != code {
		return fmt.Errorf("skerry status ended with %d, not %d: %s", r.Code, code, strings.TrimSpace(r.Stderr))
	}
	for _, w := range words {
		if !strings.Contains(r.Stdout, w) {
			return fmt.Errorf("skerry status does not name %q", w)
		}
	}
	return nil
}

// skerry runs a command that must go well.
func (d *demo) skerry(ctx context.Context, args ...string) error {
	shown := make([]string, len(args))
	for i, a := range args {
		shown[i] = d.short(a)
	}
	d.screen.command("skerry %s", strings.Join(shown, " "))
	r, err := d.cli.Run(ctx, "", args...)
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return fmt.Errorf("skerry %s ended with %d:\n%s%s", args[0], r.Code, r.Stdout, r.Stderr)
	}
	return nil
}
