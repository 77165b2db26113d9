package kustomization

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
	"github.com/skerry-dev/skerry/internal/tree"
)

// renderTimeout bounds one render. The limits on its input bound it far below, on any machine.
const renderTimeout = time.Minute

// memo is what the reconciles of one Kustomization remember for each other. One runs at a time.
type memo struct {
	rendered map[string]rendered // by cluster
	contents map[reference]*content
	dropped  map[string]*dropped // by cluster, where some of it may still stand
	removing time.Time           // when this process began to remove it; zero: it has not
	ignored  string              // revision of which an event has told that annotations are ignored
	marked   map[string]bool     // files of which an event has told that their image policies are ignored
}

// rendered means that an input gave a bundle.
type rendered struct {
	input  [sha256.Size]byte
	digest string
	// from is what the input was worked out from: as long as it is the same, the input is.
	from origin
}

// origin is a version of a Cluster, and the digest of what is the same for all clusters.
type origin struct {
	uid     types.UID
	version string
	shared  [sha256.Size]byte
}

// render fills in the digests of the targets' bundles, all of which are in the store when it
// returns, and the errors of those that have none. Its own error is one of all.
func (r *Reconciler) render(ctx context.Context, o *observed, artifact *v1alpha1.Artifact, targets []*target) error {
	r.verifyBundles(o)
	options := r.options(o)
	base, err := digestOf(artifact.Digest, options)
	if err != nil {
		return err
	}
	shared, err := digestOf(base, o.ks.Spec.Patches, o.ks.Spec.Images)
	if err != nil {
		return err
	}
	done := make(map[string]rendered, len(targets))
	var todo []*target
	inputs := map[string]rendered{}
	for _, t := range targets {
		if t.Denied {
			continue
		}
		c := o.byName[t.Name]
		if o.account == "" && r.tenancy(o, c).NeedsAccount() {
			t.err = &report.Stalled{Reason: v1alpha1.ServiceAccountRequiredReason, Err: errors.New(plan.AccountRequired)}
			continue
		}
		from := origin{c.UID, c.ResourceVersion, shared}
		last, known := o.memo.rendered[t.Name]
		if known && last.from == from && len(c.Spec.VarsFrom) == 0 && r.Bundles.Has(last.digest) {
			t.digest, done[t.Name] = last.digest, last
			continue
		}
		input, err := r.inputOf(ctx, o, options, base, t)
		switch {
		case err != nil:
			return err
		case t.err != nil:
		case known && last.input == input && r.Bundles.Has(last.digest):
			t.digest, done[t.Name] = last.digest, rendered{input, last.digest, from}
		default:
			inputs[t.Name] = rendered{input: input, from: from}
			todo = append(todo, t)
		}
	}
	if len(todo) > 0 {
		if err := r.renderAnew(ctx, o, artifact, options, todo); err != nil {
			return err
		}
	}
	for _, t := range todo {
		if t.err == nil {
			made := inputs[t.Name]
			made.digest = t.digest
			done[t.Name] = made
		}
	}
	o.memo.rendered = done
	return nil
}

// inputOf is the digest of all that a target's bundle is rendered from. A target whose variables cannot be had gets
// an error of its own, and has none.
func (r *Reconciler) inputOf(ctx context.Context, o *observed, options render.Options, base [sha256.Size]byte, t *target) (input [sha256.Size]byte, err error) {
	if err := r.setVars(ctx, o, t); err != nil {
		return input, err
	}
	own, err := targeting.For(options, o.ks, t.Target)
	if err != nil || t.err != nil {
		return input, err
	}
	return digestOf(base, own.Vars, own.Secret, own.Patches, own.Images)
}

// verifyBundles verifies the bundles that were not found for a cluster: what looked there may be a process
// that only reads, and leaves it to this one to forget what is damaged or gone.
func (r *Reconciler) verifyBundles(o *observed) {
	for _, a := range o.assigned {
		if a.entry != nil && a.status != nil && a.status.Reason == v1alpha1.BundleNotFoundReason {
			r.Bundles.Verify(a.entry.Digest)
		}
	}
}

func (r *Reconciler) renderAnew(ctx context.Context, o *observed, artifact *v1alpha1.Artifact, options render.Options, targets []*target) error {
	began := r.Now()
	defer func() { o.rendering += r.Now().Sub(began) }()
	files, err := r.Tree(ctx, targeting.SourceOf(o.ks), treeOf(artifact))
	if err != nil {
		return explainTree(err)
	}
	ctx, cancel := context.WithTimeout(ctx, renderTimeout)
	defer cancel()
	var group errgroup.Group
	var logged sync.Map // by function: many clusters may have the same input
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, t := range targets {
		group.Go(func() error {
			err := recovery.Run(func() error { return r.renderOne(ctx, files, options, o, t) })
			if p, ok := errors.AsType[*recovery.Panic](err); ok {
				if _, again := logged.LoadOrStore(p.Function, true); !again {
					log.FromContext(ctx).Error(p, "recovered from a panic", p.Details()...)
				}
				t.err, err = &report.Transient{Reason: v1alpha1.InternalErrorReason, Err: p}, nil
			}
			return err
		})
	}
	return group.Wait()
}

// treeOf is the name of an artifact's tree in the Git store: its digest where it is put together of parts,
// and its commit otherwise.
func treeOf(artifact *v1alpha1.Artifact) string {
	if strings.HasPrefix(artifact.Digest, "sha256:") {
		return artifact.Digest
	}
	return v1alpha1.CommitOf(artifact.Revision)
}

// renderOne renders for one cluster. Clusters with the same input share one render: that is the
// build cache's affair.
func (r *Reconciler) renderOne(ctx context.Context, files *tree.Tree, shared render.Options, o *observed, t *target) error {
	options, err := targeting.For(shared, o.ks, t.Target)
	if err != nil {
		return err
	}
	result, err := r.Build(ctx, files, options)
	if p, ok := errors.AsType[*recovery.Panic](err); ok {
		return p
	}
	if err != nil {
		t.err = explainRender(err)
		if !report.IsReportable(t.err) {
			return t.err
		}
		return nil
	}
	t.ignored, t.marked = object.IgnoredAnnotations(result.Bundle.Objects), result.Marked
	if t.err = permitted(r.tenancy(o, o.byName[t.Name]), result); t.err != nil {
		return nil //nolint:nilerr // it is the target's
	}
	if r.Bundles.Has(result.Digest) {
		t.digest = result.Digest
		return nil
	}
	t.digest, err = r.Bundles.Put(&result.Bundle)
	if err != nil {
		return &report.Transient{Reason: v1alpha1.StorageFailedReason, Err: err}
	}
	return nil
}

// permitted refuses a bundle that its Kustomization may not have on a cluster. The engine refuses it as well; here
// it is told before anything is assigned.
func permitted(tenancy *plan.Tenancy, result *render.Result) error {
	for i := range result.Bundle.Objects {
		o := &result.Bundle.Objects[i]
		if why := tenancy.Refuses(o.ID); why != "" {
			var mask object.Mask
			mask.Add(o.ID, o.ManifestName)
			return &report.Stalled{Reason: v1alpha1.NotPermittedReason, Err: fmt.Errorf("%s %s", mask.ID(o.ID), mask.Text(why))}
		}
	}
	return nil
}

// options are those of a render, but for what differs between clusters.
func (r *Reconciler) options(o *observed) render.Options {
	options := targeting.Shared(o.ks, r.HubID, o.from)
	options.Decryption = o.decryption
	if o.source != nil && o.source.Spec.Ignore != nil {
		options.Ignore = *o.source.Spec.Ignore
	}
	return options
}

// digestOf digests values that JSON can hold.
func digestOf(values ...any) ([sha256.Size]byte, error) {
	data, err := json.Marshal(values)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("cannot digest the input of a render: %w", err)
	}
	return sha256.Sum256(data), nil
}

// explainRender distinguishes what could not be read from what is wrong with the files.
func explainRender(err error) error {
	if failed := new(render.Error); errors.As(err, &failed) && failed.Cause != nil {
		return explainTree(failed.Cause)
	}
	return targeting.Explain(err)
}

func explainTree(err error) error {
	switch {
	case errors.Is(err, git.ErrNotStored):
		return err
	case errors.Is(err, git.ErrTooLarge):
		return &report.Stalled{Reason: v1alpha1.TooLargeReason, Err: err}
	case errors.Is(err, git.ErrFetchFailed):
		return &report.Stalled{Reason: v1alpha1.FetchFailedReason, Err: err}
	case errors.Is(err, git.ErrStoreFailed):
		return &report.Transient{Reason: v1alpha1.StorageFailedReason, Err: err}
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("cannot read the commit: %w", err)
	}
	return &report.Transient{Reason: v1alpha1.FailedReason, Err: fmt.Errorf("cannot read the commit: %w", err)}
}

// markedEvents reports each file with markers of image policies, once.
func (d *decision) markedEvents(o *observed) []report.Event {
	var files []string
	for _, t := range d.targets {
		for _, file := range t.marked {
			if !o.memo.marked[file] && !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	if len(files) == 0 {
		return nil
	}
	slices.Sort(files)
	text := render.IgnoredMarkers(files)
	if o.memo.marked == nil {
		o.memo.marked = map[string]bool{}
	}
	for _, file := range files {
		o.memo.marked[file] = true
	}
	return []report.Event{{Warning: true, Reason: v1alpha1.ImagePolicyIgnoredReason, Message: text}}
}

// ignoredEvents reports once for each revision the annotations that have no effect.
func (d *decision) ignoredEvents(o *observed) []report.Event {
	if d.revision == "" || d.revision == o.memo.ignored {
		return nil
	}
	for _, t := range d.targets {
		if t.ignored != "" {
			o.memo.ignored = d.revision
			return []report.Event{{Warning: true, Reason: v1alpha1.AnnotationIgnoredReason, Message: fmt.Sprintf(
				"Annotations of %s that have no effect here; the objects are applied and kept like any other: %s", d.revision, t.ignored)}}
		}
	}
	return nil
}
