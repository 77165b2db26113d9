// Package build renders a directory of a repository into the objects that a cluster should have.
//
// It promises: the same tree and options give the same bytes; nothing is read but files of the tree,
// nothing is run, and no network is used; whatever the input, a render ends, and the process lives on;
// and an error names the file and line at fault, never a secret. Semantics follow Flux's
// kustomize-controller. See DESIGN.md for what is refused and why.
package build

import (
	"context"

	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/tree"
)

// Result is what a render gives. It may be shared: it must not be changed.
type Result struct {
	// Path is the directory that was rendered, after variables: "." or "overlays/eu".
	Path string
	// Bundle holds the objects. It may be empty; whether that is meant is for the caller to judge.
	Bundle object.Bundle
	// Digest names the content of Bundle.
	Digest string
}

// Build renders a directory of a tree. The error is a *Error, or wraps the context's when that was
// cancelled. A render that is not done when the context ends goes on in the background until it is,
// which the limits on its input bound; it holds nothing that another render needs.
func Build(ctx context.Context, t *tree.Tree, o Options) (*Result, error) {
	return NewCache(0).Build(ctx, t, o)
}

// assemble makes the result of a render for one set of variables.
func assemble(r *rendered, o Options, vars map[string]string) (*Result, *Error) {
	objects := make([]object.Object, len(r.objects), len(r.objects)+len(r.templates))
	copy(objects, r.objects)
	var parts []part
	if vars != nil {
		p, err := r.compile()
		if err != nil {
			return nil, err
		}
		parts = p.parts
	}
	for i, t := range r.templates {
		var made object.Object
		var err *Error
		if parts == nil {
			made, err = t.plain(o.CommonMetadata)
		} else {
			made, err = parts[i].run(vars, o.PostBuild.Strict, o.CommonMetadata)
		}
		if err != nil {
			return nil, err
		}
		objects = append(objects, made)
	}
	bundle, err := object.NewBundle(objects)
	if err != nil {
		return nil, errorf(DuplicateObject, "%s", err)
	}
	return &Result{Bundle: bundle, Digest: bundle.Digest()}, nil
}
