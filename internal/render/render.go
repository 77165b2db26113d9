package render

import (
	"errors"
	"fmt"
	"maps"
	"sync"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// maxCopied bounds what "copy" operations of one JSON patch may add to an object, in bytes: each may
// double it.
const maxCopied = 4 << 20

// warm brings kustomize's process-wide state into the form in which builds only read it.
//
// kyaml parses its schema of the Kubernetes kinds when first asked, writing maps that other builds
// read without a lock. Parsed beforehand, they are never written again: only an openapi field could
// make it so, and that is refused. So builds need no lock, and none pays for the parsing.
var warm = sync.OnceFunc(func() {
	openapi.Schema()
	jsonpatch.AccumulatedCopySizeLimit = maxCopied
})

// Warm parses the schema that the first render would parse otherwise, which takes a tenth of a second.
func Warm() { warm() }

// rendered is what kustomize made of a closure, before substitution. It is the same for all clusters
// that differ in variables alone. It must not be changed.
type rendered struct {
	objects   []object.Object // those without a "${", complete
	templates []template      // those that substitution may change
	compile   func() (*program, *Error)
	outlines  func() []Outline
	// decrypted reports that some of it was encrypted in the repository.
	decrypted bool
	// marked are the files that have a marker of an image policy, which has no effect.
	marked []string
}

// template is one object as JSON, as kustomize made it.
type template struct {
	kind, name string // as its manifest says
	raw        []byte
	types      []byte // a fieldType for each string with variables
}

func newRendered(objects []object.Object, templates []template) *rendered {
	r := &rendered{objects: objects, templates: templates}
	r.compile = sync.OnceValues(func() (*program, *Error) { return compile(r.templates) })
	r.outlines = sync.OnceValue(func() []Outline { return outlinesOf(r.objects, r.templates) })
	return r
}

// render runs kustomize on a closure.
func render(c *closure, common CommonMetadata) (*rendered, *Error) {
	made, err := runKustomize(c)
	if err != nil {
		return nil, explain(c, err)
	}
	from := c.origins()
	r := newRendered(make([]object.Object, 0, made.Size()), nil)
	total := 0
	for _, res := range made.Resources() {
		root := res.YNode()
		err := from.restoreNumbers(root, "")
		var m map[string]any
		if err == nil {
			m, err = toMap(root)
		}
		if err != nil {
			err.Message = fmt.Sprintf("%s/%s: %s", res.GetKind(), res.GetName(), err.Message)
			return nil, c.locate(err, res.GetKind(), res.GetName())
		}
		if hasVariable(m) && !isDisabled(m) {
			t, err := newTemplate(m, root, from)
			if err != nil {
				return nil, c.locate(err, res.GetKind(), res.GetName())
			}
			if err := c.refuseCiphertext(m, t.raw); err != nil {
				return nil, c.locate(err, res.GetKind(), res.GetName())
			}
			r.templates = append(r.templates, t)
			total += len(t.raw)
			continue
		}
		o, err := finish(m, common)
		if err != nil {
			return nil, c.locate(err, res.GetKind(), res.GetName())
		}
		if err := c.refuseCiphertext(m, o.Body); err != nil {
			return nil, c.locate(err, res.GetKind(), res.GetName())
		}
		r.objects = append(r.objects, o)
		if total += len(o.Body); total > maxBytes {
			return nil, errorf(TooLarge, "the objects are more than %d bytes", maxBytes)
		}
	}
	// Once here and not for each set of variables; and here it is known where the objects come from.
	bundle, err := object.NewBundle(r.objects)
	if twice, ok := errors.AsType[*object.DuplicateError](err); ok {
		return nil, c.twice(twice)
	}
	if err != nil {
		return nil, errorf(InvalidObject, "%s", err)
	}
	r.objects = bundle.Objects
	return r, nil
}

// runKustomize builds the root of a closure. krusty takes no context: what bounds it is the size of the
// closure. It is known to panic on some input, which must not end the process.
func runKustomize(c *closure) (made resmap.ResMap, err error) {
	defer func() {
		if recover() != nil {
			recovery.CountInput()
			made, err = nil, errors.New("kustomize cannot take this input: it panicked")
		}
	}()
	warm()
	order := krusty.ReorderOptionNone // the order of a bundle is ours
	if c.sorted {
		order = krusty.ReorderOptionUnspecified // else kustomize logs a warning
	}
	return krusty.MakeKustomizer(&krusty.Options{
		Reorder: order,
		// A kustomization may name files outside of its directory, as in Flux; the closure has no
		// more than what may be read.
		LoadRestrictions: types.LoadRestrictionsNone,
		PluginConfig:     types.DisabledPluginConfig(),
	}).Run(c.fileSystem, c.root)
}

// finish returns the object of a manifest that nothing more is substituted in.
func finish(m map[string]any, common CommonMetadata) (object.Object, *Error) {
	setMetadata(m, "labels", common.Labels)
	setMetadata(m, "annotations", common.Annotations)
	setManifestName(m, "")
	meta, _ := m["metadata"].(map[string]any)
	labels, _ := meta["labels"].(map[string]any)
	_, part := labels[v1alpha1.PartLabel]
	o, err := object.FromMap(m)
	if err != nil {
		return object.Object{}, errorf(InvalidObject, "%s", err)
	}
	if why := plan.Reserved(o.ID, part); why != "" {
		return object.Object{}, errorf(ReservedObject, "%s %s", o.ID, why)
	}
	return o, nil
}

// setMetadata sets labels or annotations over those that are there.
func setMetadata(m map[string]any, field string, values map[string]string) {
	meta, ok := m["metadata"].(map[string]any)
	if !ok || len(values) == 0 {
		return
	}
	have, _ := meta[field].(map[string]any)
	have = maps.Clone(have)
	if have == nil {
		have = make(map[string]any, len(values))
	}
	for key, value := range values {
		have[key] = value
	}
	meta[field] = have
}
