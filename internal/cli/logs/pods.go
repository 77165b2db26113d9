package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// place is where Pods log: the hub's cluster, or the edge of an agent.
type place struct {
	client.Reader
	config *rest.Config
	// app is the name of the Deployment, which its Pods have as a label.
	app string
}

// pods lists the Pods by name.
func (p place) pods(ctx context.Context, o *Options) ([]corev1.Pod, error) {
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	list := &corev1.PodList{}
	if err := p.List(ctx, list, client.InNamespace(v1alpha1.SystemNamespace), client.MatchingLabels{"app.kubernetes.io/name": p.app}); err != nil {
		return nil, fmt.Errorf("cannot list the Pods of %s: %w", p.app, err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return list.Items, nil
}

// show writes the logs of the Pods, one after the other, or side by side as they go on.
func (p place) show(ctx context.Context, o *Options, pods []corev1.Pod) error {
	logs, err := corev1client.NewForConfig(p.config)
	if err != nil {
		return fmt.Errorf("cannot connect: %w", err)
	}
	out := &lines{out: o.IO.Out, prefix: len(pods) > 1, filter: o.filter, asLogged: o.Output == "json"}
	group, ctx := errgroup.WithContext(ctx)
	if !o.Follow {
		group.SetLimit(1)
	}
	for i := range pods {
		name := pods[i].Name
		group.Go(func() error {
			stream, err := logs.Pods(v1alpha1.SystemNamespace).GetLogs(name, o.podLogOptions()).Stream(ctx)
			if err != nil {
				return fmt.Errorf("cannot read the log of Pod %s: %w", name, err)
			}
			defer func() { _ = stream.Close() }()
			if err := out.copy(name, stream); err != nil || !o.Follow {
				return err
			}
			o.IO.Progressf("the log of Pod %s has ended; the same command again follows what runs in its place", name)
			return nil
		})
	}
	return group.Wait()
}

func (o *Options) podLogOptions() *corev1.PodLogOptions {
	opts := &corev1.PodLogOptions{Follow: o.Follow, Previous: o.Previous}
	if o.Tail >= 0 {
		opts.TailLines = &o.Tail
	}
	if o.Since > 0 {
		seconds := int64(max(1, o.Since.Seconds()))
		opts.SinceSeconds = &seconds
	}
	if !o.sinceTime.IsZero() {
		opts.SinceTime = &metav1.Time{Time: o.sinceTime}
	}
	return opts
}

// lines writes whole lines of several streams.
type lines struct {
	filter   filter
	asLogged bool
	prefix   bool

	mu  sync.Mutex
	out io.Writer // guarded by mu
}

// maxLine bounds a line that is put together; a longer one is cut into several.
const maxLine = 64 << 10

func (l *lines) copy(pod string, from io.Reader) error {
	r := bufio.NewReaderSize(from, maxLine)
	for {
		line, _, err := r.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read the log of Pod %s: %w", pod, err)
		}
		if text, shown := l.line(string(line)); shown {
			if err := l.write(pod, text); err != nil {
				return err
			}
		}
	}
}

// line is what is shown of a line. One that is no record is shown where nothing is filtered: then it is what a crash
// left.
func (l *lines) line(text string) (string, bool) {
	r := parse(text)
	switch {
	case r == nil:
		return iostreams.Clean(text), l.filter.isEmpty()
	case !l.filter.matches(r):
		return "", false
	case l.asLogged:
		return iostreams.Clean(text), true
	}
	return iostreams.Line(r.String()), true
}

func (l *lines) write(pod, line string) error {
	if l.prefix {
		line = "[" + pod + "] " + line
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := io.WriteString(l.out, line+"\n"); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}
