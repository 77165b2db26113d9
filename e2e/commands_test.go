package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// commands are what scripts may say beyond testscript's own words; doc.go describes them.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"apply":      command(applyManifests),
	"await":      command(await),
	"stays":      command(stays),
	"get":        command(getObject),
	"patch":      command(patchObject),
	"delete":     command(deleteObject),
	"ensure":     command(ensureCount),
	"event":      command(awaitEvent),
	"snapshot":   command(takeSnapshot),
	"same":       command(sameSnapshot),
	"edge":       command(edgePower),
	"hub":        command(hubPower),
	"agent":      command(agentPower),
	"link":       command(linkFault),
	"proxy":      command(openProxy),
	"ingress":    command(openIngress),
	"damage":     command(damage),
	"skerry":     command(runSkerry),
	"everywhere": command(everywhere),
	"interrupt":  command(interrupt),
	"closedpipe": command(closedpipe),
	"complete":   command(complete),
	"push":       command(push),
	"forget":     command(forget),
	"git":        command(gitFault),
	"serve":      command(serve),
	"githost":    command(serveHost),
	"world":      command(newWorld),
	"canary":     command(lookForCanary),
	"webhook":    command(sendWebhook),
	"load":       command(loadVariable),

	"flux":       command(flux),
	"repository": command(repository),
	"identities": command(identities),

	"kubeconfig": command(writeKubeconfig),
	"deletepods": command(deletePods),
}

// call is one command of a script.
type call struct {
	*kase
	ts   *testscript.TestScript
	args []string
}

// command wraps a function into what testscript calls: an error fails the script, or is what `!`
// asks for.
func command(run func(ctx context.Context, c call) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		k, ok := ts.Value(kaseKey{}).(*kase)
		if !ok {
			ts.Fatalf("there is no case")
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		err := run(ctx, call{kase: k, ts: ts, args: args})
		switch {
		case neg && err == nil:
			ts.Fatalf("went well, which it should not")
		case neg:
			ts.Logf("as wanted: %v", err)
			_, _ = fmt.Fprintln(ts.Stderr(), err)
		case err != nil:
			ts.Fatalf("%v", err)
		}
	}
}

// option takes "-name VALUE" from the front of the arguments.
func (c *call) option(name string) (string, bool) {
	if len(c.args) >= 2 && c.args[0] == "-"+name {
		value := c.args[1]
		c.args = c.args[2:]
		return value, true
	}
	return "", false
}

// flag takes "-name" from the front of the arguments.
func (c *call) flag(name string) bool {
	if len(c.args) >= 1 && c.args[0] == "-"+name {
		c.args = c.args[1:]
		return true
	}
	return false
}

func (c *call) duration(fallback time.Duration) (time.Duration, error) {
	if text, ok := c.option("for"); ok {
		return time.ParseDuration(text)
	}
	return fallback, nil
}

// object reads CLUSTER KIND/[NAMESPACE/]NAME from the front of the arguments. Without a namespace,
// objects of the hub are in its own.
func (c *call) object() (*rig.Kube, rig.Ref, error) {
	if len(c.args) < 2 {
		return nil, rig.Ref{}, errors.New("wants CLUSTER KIND/NAME")
	}
	cluster, words := c.args[0], strings.Split(c.args[1], "/")
	c.args = c.args[2:]
	kube, err := c.kube(cluster)
	if err != nil {
		return nil, rig.Ref{}, err
	}
	switch {
	case len(words) == 3:
		return kube, rig.Ref{Kind: words[0], Namespace: words[1], Name: words[2]}, nil
	case len(words) == 2 && cluster == "hub":
		return kube, rig.Ref{Kind: words[0], Namespace: namespace, Name: words[1]}, nil
	case len(words) == 2:
		return kube, rig.Ref{Kind: words[0], Name: words[1]}, nil
	}
	return nil, rig.Ref{}, fmt.Errorf("%q names no object", strings.Join(words, "/"))
}

func applyManifests(ctx context.Context, c call) error {
	refused := c.flag("refused")
	manager := "kubectl"
	if name, ok := c.option("as"); ok {
		manager = name
	}
	if len(c.args) < 2 {
		return errors.New("wants CLUSTER FILE")
	}
	kube, err := c.kube(c.args[0])
	if err != nil {
		return err
	}
	for _, file := range c.args[1:] {
		text := os.Expand(c.ts.ReadFile(file), c.keepUnknown)
		if refused {
			err = awaitRefusal(ctx, kube, text)
		} else {
			err = kube.ApplyAs(ctx, manager, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// awaitRefusal applies until the API server refuses to: nothing tells when an admission policy has
// come into force but what it does.
func awaitRefusal(ctx context.Context, kube *rig.Kube, text string) error {
	for {
		err := kube.Apply(ctx, text)
		if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("was never refused: %w", errors.Join(ctx.Err(), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// keepUnknown replaces variables of the script and leaves others, which are the hub's to replace.
func (c *call) keepUnknown(name string) string {
	if value := c.ts.Getenv(name); value != "" {
		return value
	}
	return "${" + name + "}"
}

func await(ctx context.Context, c call) error {
	d, err := c.duration(patience)
	if err != nil {
		return err
	}
	kube, ref, err := c.object()
	if err != nil {
		return err
	}
	holds, err := rig.Expect(c.args...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	started := time.Now()
	if _, err := kube.Await(ctx, ref, holds); err != nil {
		return err
	}
	c.ts.Logf("after %s", time.Since(started).Round(time.Millisecond))
	return nil
}

func stays(ctx context.Context, c call) error {
	d, err := c.duration(2 * time.Second)
	if err != nil {
		return err
	}
	kube, ref, err := c.object()
	if err != nil {
		return err
	}
	holds, err := rig.Expect(c.args...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	looked, reason := 0, ""
	_, err = kube.Await(ctx, ref, func(o *unstructured.Unstructured) (bool, string) {
		looked++
		ok, why := holds(o)
		reason = why
		return !ok, why
	})
	switch {
	case err == nil:
		return fmt.Errorf("%s did not stay: %s", ref, reason)
	case looked == 0:
		return fmt.Errorf("%s was not seen: %w", ref, err)
	}
	return nil
}

func getObject(ctx context.Context, c call) error {
	kube, ref, err := c.object()
	if err != nil {
		return err
	}
	o, err := kube.Get(ctx, ref)
	if err != nil {
		return err
	}
	if len(c.args) == 1 {
		_, err = fmt.Fprintln(c.ts.Stdout(), rig.Value(o, strings.Split(c.args[0], ".")...))
		return err
	}
	o.SetManagedFields(nil)
	raw, err := yaml.Marshal(o.Object)
	if err != nil {
		return err
	}
	_, err = c.ts.Stdout().Write(raw)
	return err
}

func patchObject(ctx context.Context, c call) error {
	kube, ref, err := c.object()
	if err != nil {
		return err
	}
	if len(c.args) != 1 {
		return errors.New("wants JSON")
	}
	_, err = kube.Patch(ctx, ref, c.args[0])
	return err
}

func deleteObject(ctx context.Context, c call) error {
	kube, ref, err := c.object()
	if err != nil {
		return err
	}
	_, err = kube.Delete(ctx, ref)
	return err
}

func ensureCount(ctx context.Context, c call) error {
	if len(c.args) < 3 {
		return errors.New("wants CLUSTER KIND COUNT [SELECTOR]")
	}
	kube, err := c.kube(c.args[0])
	if err != nil {
		return err
	}
	client, err := kube.Resource(c.args[1], "")
	if err != nil {
		return err
	}
	list, err := client.List(ctx, metav1.ListOptions{LabelSelector: strings.Join(c.args[3:], ",")})
	if err != nil {
		return err
	}
	if got := strconv.Itoa(len(list.Items)); got != c.args[2] {
		return fmt.Errorf("there are %s %s, not %s", got, c.args[1], c.args[2])
	}
	return nil
}

// awaitEvent watches the hub's Events for one about an object.
func awaitEvent(ctx context.Context, c call) error {
	if len(c.args) < 2 {
		return errors.New("wants KIND/NAME REASON [REGEXP]")
	}
	kind, name, _ := strings.Cut(c.args[0], "/")
	pattern, err := regexp.Compile(strings.Join(c.args[2:], " "))
	if err != nil {
		return err
	}
	matches := func(o *unstructured.Unstructured) bool {
		about := o.Object["involvedObject"]
		if r, ok := o.Object["regarding"]; ok {
			about = r
		}
		in := &unstructured.Unstructured{Object: map[string]any{"about": about}}
		text := rig.Value(o, "message") + rig.Value(o, "note")
		return strings.EqualFold(rig.Value(in, "about", "kind"), kind) && rig.Value(in, "about", "name") == name &&
			rig.Value(o, "reason") == c.args[1] && pattern.MatchString(text)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := c.rig.HubKube.Resource("events", namespace)
	if err != nil {
		return err
	}
	w, err := client.Watch(ctx, metav1.ListOptions{}) // from no version: what is there comes first
	if err != nil {
		return err
	}
	defer w.Stop()
	var seen []string
	for event := range w.ResultChan() {
		o, ok := event.Object.(*unstructured.Unstructured)
		if !ok || event.Type == watch.Error {
			return fmt.Errorf("cannot watch events: %v", event.Object)
		}
		if matches(o) {
			return nil
		}
		seen = append(seen, fmt.Sprintf("%s %s", rig.Value(o, "reason"), rig.Value(o, "message")))
	}
	return fmt.Errorf("no such event; there were:\n%s", strings.Join(seen, "\n"))
}

func takeSnapshot(ctx context.Context, c call) (err error) {
	if len(c.args) != 1 {
		return errors.New("wants NAME")
	}
	c.snapshots[c.args[0]], err = c.owned(ctx)
	return err
}

func sameSnapshot(ctx context.Context, c call) error {
	if len(c.args) != 1 {
		return errors.New("wants NAME")
	}
	want, ok := c.snapshots[c.args[0]]
	if !ok || want == "" {
		return fmt.Errorf("there is no snapshot %q, or nothing in it", c.args[0])
	}
	got, err := c.owned(ctx)
	if err != nil {
		return err
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		return fmt.Errorf("the edges did not stay as they were (-then +now):\n%s", diff)
	}
	return nil
}

// runSkerry runs the CLI. Its output is the command's, for stdout and stderr to look at.
func runSkerry(ctx context.Context, c call) error {
	want, err := c.code()
	if err != nil {
		return err
	}
	stdin := ""
	if file, ok := c.option("stdin"); ok {
		stdin = c.ts.ReadFile(file)
	}
	cli, err := c.cli()
	if err != nil {
		return err
	}
	r, err := cli.Run(ctx, stdin, c.args...)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprint(c.ts.Stdout(), r.Stdout)
	_, _ = fmt.Fprint(c.ts.Stderr(), r.Stderr)
	c.ts.Logf("took %s", r.Took.Round(time.Millisecond))
	if r.Code != want {
		return fmt.Errorf("ended with code %d, not %d:\n%s%s", r.Code, want, r.Stdout, r.Stderr)
	}
	return nil
}

// folder reads the files below a folder of the script, by slash-separated paths relative to it.
func (c *call) folder(name string) (map[string]string, error) {
	files := map[string]string{}
	root := c.ts.MkAbs(name)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		files[filepath.ToSlash(rel)] = string(raw)
		return err
	})
	return files, err
}
