package get

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/wait"
)

// watch lists, and then writes a line for each change until ctx ends. A watch that the API server ends is begun again.
func (o *Options) watch(ctx context.Context) error {
	if o.Flags.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Flags.Timeout)
		defer cancel()
	}
	out := &lines{out: o.IO.Out, columns: o.IO.Width()}
	var kinds []*watched
	for _, name := range o.resources {
		k := &watched{o: o, resource: name, show: !o.WatchOnly, out: out}
		if err := leaveAt(ctx, k.list); err != nil {
			return err
		}
		if k.printer != nil {
			kinds = append(kinds, k)
		}
	}
	group, following := errgroup.WithContext(ctx)
	for _, k := range kinds {
		group.Go(func() error { return k.follow(following) })
	}
	if err := group.Wait(); err != nil && !errors.Is(err, context.DeadlineExceeded) { // as asked for with --timeout
		return err
	}
	return nil
}

// watched is one kind that is listed and watched.
type watched struct {
	o        *Options
	resource string
	show     bool // false while what is listed is not to be shown
	out      *lines

	result  *resource.Result
	printer printers.ResourcePrinter // nil when there is nothing of that name, which is no error
	version string                   // the resourceVersion from which to watch
}

// list reads and prints what there is.
func (k *watched) list() error {
	k.result = k.o.request(k.resource).RequestChunksOf(0).SingleResourceType().Do()
	infos, err := k.result.Infos()
	switch {
	case apierrors.IsNotFound(err) && k.o.IgnoreNotFound:
		return nil
	case err != nil:
		return err
	case len(infos) != 1:
		return factory.Usagef("--watch follows one name, or all of a kind")
	}
	if k.printer == nil {
		if k.printer, err = k.newPrinter(infos[0]); err != nil {
			return err
		}
	}
	if k.version, err = meta.NewAccessor().ResourceVersion(infos[0].Object); err != nil {
		return fmt.Errorf("cannot watch %s: %w", k.resource, err)
	}
	objects := []runtime.Object{infos[0].Object}
	if meta.IsListType(infos[0].Object) {
		if objects, err = meta.ExtractList(infos[0].Object); err != nil {
			return fmt.Errorf("cannot read the list of %s: %w", k.resource, err)
		}
	}
	err = k.print(objects...)
	k.show = true
	return err
}

func (k *watched) newPrinter(of *resource.Info) (printers.ResourcePrinter, error) {
	if !k.o.isTable() {
		return k.o.printer()
	}
	options := k.o.Table
	options.Kind = of.Mapping.GroupVersionKind.GroupKind()
	return printers.NewTablePrinter(options), nil
}

// follow prints what changes until ctx ends. A watch that ends is begun again where it ended; where the API server
// does not know that any more, what there is is listed again.
func (k *watched) follow(ctx context.Context) error {
	for {
		w, err := k.result.Watch(k.version)
		if err == nil {
			err = k.drain(ctx, w)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case apierrors.IsResourceExpired(err), apierrors.IsGone(err):
			err = leaveAt(ctx, k.list)
		}
		if err != nil {
			return fmt.Errorf("cannot watch %s: %w", k.resource, err)
		}
		if err := wait.Pause(ctx); err != nil { // an API server that ends each watch at once is not to be pressed
			return err
		}
	}
}

// drain prints the events of a watch until it ends.
func (k *watched) drain(ctx context.Context, w watch.Interface) error {
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, open := <-w.ResultChan():
			switch {
			case !open:
				return nil
			case e.Type == watch.Error:
				return apierrors.FromObject(e.Object)
			}
			if version, err := meta.NewAccessor().ResourceVersion(e.Object); err == nil && version != "" {
				k.version = version
			}
			if err := k.print(e.Object); err != nil {
				return err
			}
		}
	}
}

// print prints objects or tables. Of what is not to be shown the printer learns the columns, which the API server
// sends once.
func (k *watched) print(objects ...runtime.Object) error {
	return k.out.write(k.resource, func(to io.Writer) error {
		for _, o := range objects {
			table, err := decodeTable(o)
			switch {
			case err != nil:
				return err
			case table != nil && !k.show:
				table.Rows = nil
			case !k.show:
				continue
			}
			if table != nil {
				o = table
			}
			if err := k.printer.PrintObj(o, to); err != nil {
				return fmt.Errorf("cannot print %s: %w", k.resource, err)
			}
		}
		return nil
	})
}

// lines writes what several kinds print, one at a time, each in columns of its own.
type lines struct {
	columns int // of the terminal; 0 in a pipe

	mu  sync.Mutex
	out io.Writer           // guarded by mu
	in  map[string]*aligned // guarded by mu
}

// aligned is one kind's table, which remembers how wide its columns have become.
type aligned struct {
	table interface {
		io.Writer
		Flush() error
	}
	text bytes.Buffer
}

func (l *lines) write(kind string, print func(io.Writer) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.in[kind]
	if a == nil {
		if l.in == nil {
			l.in = map[string]*aligned{}
		}
		a = &aligned{}
		a.table = printers.GetNewTabWriter(&a.text)
		l.in[kind] = a
	}
	if err := errors.Join(print(a.table), a.table.Flush()); err != nil {
		return err
	}
	text := a.text.String()
	a.text.Reset()
	if l.columns > 0 {
		text = cutLines(text, l.columns)
	}
	if _, err := io.WriteString(l.out, text); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

func cutLines(text string, columns int) string {
	var b strings.Builder
	for line := range strings.Lines(iostreams.Clean(text)) {
		b.WriteString(iostreams.Cut(factory.ShortRevisions(strings.TrimSuffix(line, "\n")), columns) + "\n")
	}
	return b.String()
}
