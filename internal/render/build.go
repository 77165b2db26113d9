// Package render renders a directory of a repository into the objects that a cluster should have.
//
// It promises: the same tree and options give the same bytes; nothing is read but files of the tree,
// nothing is run, and no network is used; whatever the input, a render ends, and the process lives on;
// and an error names the file and line at fault, never a secret. Semantics follow Flux's
// kustomize-controller. See DESIGN.md for what is refused and why.
package render

import (
	"context"
	"errors"
	"slices"

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
	// Marked are the files, by path and sorted, in which a comment marks a value for Flux's image automation
	// ({"$imagepolicy": …}). Nothing here sets such a value.
	Marked []string
}

// Build renders a directory of a tree. The error is a *Error, or wraps the context's when that was
// cancelled. A render that is not done when the context ends goes on in the background until it is,
// which the limits on its input bound; it holds nothing that another render needs.
func Build(ctx context.Context, t *tree.Tree, o Options) (*Result, error) {
	return NewCache(0).Build(ctx, t, o)
}

// takesAny reports whether an object refers to one of the variables.
func (r *rendered) takesAny(variables map[string]bool) bool {
	if len(variables) == 0 {
		return false
	}
	p, err := r.compile()
	return err == nil && slices.ContainsFunc(p.names, func(name string) bool { return variables[name] })
}

// assemble makes the result of a render for one set of variables. key is that of the digest.
func assemble(r *rendered, o Options, vars map[string]string, secret map[string]bool, key []byte) (*Result, *Error) {
	objects := make([]object.Object, len(r.objects), len(r.objects)+len(r.templates))
	copy(objects, r.objects)
	hidden := map[string]string{}
	made, err := r.fill(o, vars, secret, hidden)
	if err != nil {
		return nil, err
	}
	bundle, failed := object.NewBundle(append(objects, made...))
	if twice, ok := errors.AsType[*object.DuplicateError](failed); ok {
		return nil, r.same(twice.ID, made, vars != nil)
	}
	if len(hidden) > 0 {
		bundle.Hidden = hidden
	}
	bundle.Confidential = r.decrypted || bundle.HoldsSecret() || r.takesAny(secret)
	return &Result{Bundle: bundle, Digest: bundle.KeyedDigest(key), Marked: r.marked}, nil
}

// fill returns the objects of the templates, in order, and adds to hidden what of them may not be shown.
func (r *rendered) fill(o Options, vars map[string]string, secret map[string]bool, hidden map[string]string) ([]object.Object, *Error) {
	objects := make([]object.Object, len(r.templates))
	var err *Error
	if vars == nil {
		for i, t := range r.templates {
			if objects[i], err = t.plain(o.CommonMetadata); err != nil {
				return nil, err
			}
		}
		return objects, nil
	}
	p, err := r.compile()
	if err != nil {
		return nil, err
	}
	if err := missingVariables(p.parts, vars); err != nil {
		return nil, err
	}
	total := 0.0
	for i := range p.parts {
		size, err := p.parts[i].size(vars)
		if err != nil {
			return nil, err
		}
		if total += size; total > maxBytes {
			return nil, errorf(TooLarge, "variables make the objects more than %d bytes", maxBytes)
		}
	}
	for i := range p.parts {
		if objects[i], err = p.parts[i].run(vars, secret, o.CommonMetadata); err != nil {
			return nil, err
		}
		p.parts[i].hide(vars, secret, hidden)
	}
	return objects, nil
}

// same returns the error of two objects of one ID. Where variables made them so, it names them as their
// manifests do: the ID may have a value in it.
func (r *rendered) same(id object.ID, made []object.Object, substituted bool) *Error {
	if !substituted {
		return errorf(DuplicateObject, "%s is there twice", id)
	}
	var last template
	var names []string
	for i := range made {
		if made[i].ID == id {
			last = r.templates[i]
			names = append(names, last.String())
		}
	}
	if len(names) == 1 {
		names = append(names, "another object")
	}
	err := errorf(DuplicateObject, "variables make %s and %s the same object", names[0], names[1])
	err.kind, err.name = last.kind, last.name
	return err
}
