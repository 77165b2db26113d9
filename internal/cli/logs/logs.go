// Package logs is the command that shows what the hub logs.
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

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Follow   bool
	Previous bool
	Tail     int64
	Since    time.Duration
}

// NewCmdLogs returns the command; runF replaces what it runs, for tests.
func NewCmdLogs(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runLogs
	}
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Show what the hub logs",
		Long: `Show what the Pods of the hub's Deployment log. Where there are several, each line begins with the
name of its Pod. What could steer a terminal is taken out.`,
		Example: `  skerry logs --tail 100
  skerry logs --follow --since 5m
  skerry logs --previous`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.Tail < -1:
				return factory.Usagef("--tail must be a number of lines, or -1 for all")
			case o.Since < 0:
				return factory.Usagef("--since must be longer than 0")
			}
			if cmd.Flags().Changed("namespace") {
				if err := o.SystemNamespaceOnly(); err != nil {
					return err
				}
			}
			return runF(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.Follow, "follow", "f", false, "go on with what is logged")
	flags.BoolVarP(&o.Previous, "previous", "p", false, "of the container before the one that runs")
	flags.Int64Var(&o.Tail, "tail", -1, "this many lines of each Pod, -1 for all")
	flags.DurationVar(&o.Since, "since", 0, "of this time, for example 5m")
	return cmd
}

func runLogs(ctx context.Context, o *Options) error {
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	pods, err := corev1client.NewForConfig(hub.Config)
	if err != nil {
		return fmt.Errorf("cannot connect: %w", err)
	}
	asking, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	list := &corev1.PodList{}
	selector := labels.SelectorFromSet(labels.Set{"app.kubernetes.io/name": diagnose.HubName})
	if err := hub.List(asking, list, client.InNamespace(v1alpha1.SystemNamespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return fmt.Errorf("cannot list the hub's Pods: %w", err)
	}
	if len(list.Items) == 0 {
		return factory.Next(errors.New("the hub has no Pods here: "+diagnose.Hub(asking, hub)), "a hub that runs elsewhere logs where it runs")
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	out := &lines{out: o.IO.Out, prefix: len(list.Items) > 1}
	group, ctx := errgroup.WithContext(ctx)
	if !o.Follow {
		group.SetLimit(1) // one Pod after the other
	}
	for i := range list.Items {
		name := list.Items[i].Name
		group.Go(func() error {
			stream, err := pods.Pods(v1alpha1.SystemNamespace).GetLogs(name, o.podLogOptions()).Stream(ctx)
			if err != nil {
				return fmt.Errorf("cannot read the log of Pod %s: %w", name, err)
			}
			defer func() { _ = stream.Close() }()
			return out.copy(name, stream)
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
	return opts
}

// lines writes whole lines of several streams.
type lines struct {
	mu     sync.Mutex
	out    io.Writer // guarded by mu
	prefix bool
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
		if err := l.write(pod, iostreams.Clean(string(line))); err != nil {
			return err
		}
	}
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
