package kustomization

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/build"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/tree"
)

// renderTimeout bounds one render. The limits on its input bound it far below, on any machine.
const renderTimeout = time.Minute

// memo is what the reconciles of one Kustomization remember for each other. One runs at a time.
type memo struct {
	rendered  map[string]rendered // by cluster
	variables map[v1alpha1.SubstituteReference]variables
}

// rendered says that an input gave a bundle.
type rendered struct {
	input  [sha256.Size]byte
	digest string
}

// variables is the content of a ConfigMap or Secret at a version.
type variables struct {
	version string
	data    map[string]string
}

// render fills in the digests of the targets' bundles, all of which are in the store when it
// returns, and the errors of those that have none. Its own error is one of all.
func (r *Reconciler) render(ctx context.Context, o *observed, artifact *v1alpha1.Artifact, targets []*target) error {
	options := r.options(o)
	base, err := digestOf(artifact.Digest, options)
	if err != nil {
		return err
	}
	done := make(map[string]rendered, len(targets))
	var todo []*target
	inputs := map[string][sha256.Size]byte{}
	for _, t := range targets {
		input, err := digestOf(base, t.Vars)
		if err != nil {
			return err
		}
		inputs[t.Name] = input
		if last, ok := o.memo.rendered[t.Name]; ok && last.input == input && r.Bundles.Has(last.digest) {
			t.digest, done[t.Name] = last.digest, last
			continue
		}
		todo = append(todo, t)
	}
	if len(todo) > 0 {
		if err := r.renderAnew(ctx, o, artifact, options, todo); err != nil {
			return err
		}
	}
	for _, t := range todo {
		if t.err == nil {
			done[t.Name] = rendered{inputs[t.Name], t.digest}
		}
	}
	o.memo.rendered = done
	return nil
}

func (r *Reconciler) renderAnew(ctx context.Context, o *observed, artifact *v1alpha1.Artifact, options build.Options, targets []*target) error {
	files, err := r.Tree(ctx, sourceOf(o.ks), commitOf(artifact.Revision))
	if err != nil {
		return explainTree(err)
	}
	ctx, cancel := context.WithTimeout(ctx, renderTimeout)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, t := range targets {
		group.Go(func() error { return r.renderOne(ctx, files, options, t) })
	}
	return group.Wait()
}

// renderOne renders for one cluster. Clusters with the same input share one render: that is the
// build cache's affair.
func (r *Reconciler) renderOne(ctx context.Context, files *tree.Tree, options build.Options, t *target) error {
	options.Vars = t.Vars
	result, err := r.Build(ctx, files, options)
	if err != nil {
		t.err = explainBuild(err)
		if !report.Spoken(t.err) {
			return t.err
		}
		return nil
	}
	if r.Bundles.Has(result.Digest) {
		t.digest = result.Digest
		return nil
	}
	t.digest, err = r.Bundles.Put(&result.Bundle)
	if err != nil {
		return &report.Transient{Reason: v1alpha1.FailedReason, Err: err}
	}
	return nil
}

// options are those of a render, but for the variables of the cluster. The owner label is part of
// what is rendered, so that a bundle is encoded once and applied as it is.
func (r *Reconciler) options(o *observed) build.Options {
	spec := &o.ks.Spec
	options := build.Options{
		Path:            spec.Path,
		TargetNamespace: spec.TargetNamespace,
		NamePrefix:      spec.NamePrefix,
		NameSuffix:      spec.NameSuffix,
		Patches:         spec.Patches,
		Images:          spec.Images,
		Components:      spec.Components,
	}
	labels := map[string]string{}
	if spec.CommonMetadata != nil {
		maps.Copy(labels, spec.CommonMetadata.Labels)
		options.CommonMetadata.Annotations = spec.CommonMetadata.Annotations
	}
	labels[v1alpha1.OwnerLabel] = object.Owner{Hub: r.HubID, Namespace: o.key.Namespace, Name: o.key.Name}.Label()
	options.CommonMetadata.Labels = labels
	if spec.PostBuild != nil {
		options.PostBuild = &build.PostBuild{Substitute: spec.PostBuild.Substitute, SubstituteFrom: o.from}
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

func explainTree(err error) error {
	switch {
	case errors.Is(err, git.ErrNotStored):
		return err
	case errors.Is(err, git.ErrTooLarge):
		return &report.Stalled{Reason: v1alpha1.TooLargeReason, Err: err}
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("cannot read the commit: %w", err)
	}
	return &report.Transient{Reason: v1alpha1.FailedReason, Err: fmt.Errorf("cannot read the commit: %w", err)}
}

// explainBuild: the same input fails the same way, so that only a commit or an edit helps.
func explainBuild(err error) error {
	failed := new(build.Error)
	switch {
	case !errors.As(err, &failed):
		return err
	case failed.Reason == build.Timeout:
		return &report.Transient{Reason: string(failed.Reason), Err: err}
	}
	return &report.Stalled{Reason: string(failed.Reason), Err: err}
}
