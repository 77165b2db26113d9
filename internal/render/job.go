package render

import (
	"bytes"
	"encoding/gob"
	"fmt"

	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// Isolate renders a job in a process that can be killed, and returns what RunJob returned there. key
// names the job, the same for the same input. large says that the job takes long by its size; any
// other is isolated because its size says nothing. The error is what became of the process: it is made
// by Passing, and has no place.
type Isolate func(key string, job []byte, large bool) ([]byte, *Error)

// job is a closure, and what is set on all objects.
type job struct {
	Root   string
	Files  map[string][]byte
	Dirs   map[string]string
	Roles  map[string]int
	Sorted bool
	Made   string
	// Opened holds what must not be in a message, of each file that was decrypted; Skip leaves the others.
	Opened map[string][]string
	Skip   bool
	Common CommonMetadata
}

// jobResult is what a job gives.
type jobResult struct {
	Bundle    []byte // the objects without variables
	Templates []sentTemplate
	Failed    *Error
	Panicked  *sentPanic
	// InputPanics is how often a library panicked on the input; the process that renders has no metrics.
	InputPanics uint64
}

// sentPanic is a recovery.Panic, which the process that renders cannot log.
type sentPanic struct{ Value, Stack, Function string }

type sentTemplate struct {
	Kind, Name string
	Raw, Types []byte
}

func (c *closure) encodeJob(common CommonMetadata) ([]byte, *Error) {
	roles := make(map[string]int, len(c.roles))
	for p, r := range c.roles {
		roles[p] = int(r)
	}
	values := make(map[string][]string, len(c.opened))
	for p, o := range c.opened {
		values[p] = o.values
	}
	return encodeGob(job{Root: c.root, Files: c.files, Dirs: c.dirs, Roles: roles, Sorted: c.sorted, Made: c.made, Opened: values, Skip: c.skipEncrypted, Common: common})
}

func encodeGob(v any) ([]byte, *Error) {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(v); err != nil {
		return nil, errorf(Failed, "cannot encode a render")
	}
	return b.Bytes(), nil
}

// RunJob renders a job that a Cache has given to Isolate. It is to be called in the process of its own.
func RunJob(data []byte) []byte {
	answer := runJob(data)
	encoded, err := encodeGob(answer)
	if err != nil {
		encoded, _ = encodeGob(answerOf(err))
	}
	return encoded
}

func answerOf(err *Error) (a struct{ Failed *Error }) {
	a.Failed = err
	return a
}

func runJob(data []byte) (a jobResult) {
	var j job
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&j); err != nil {
		a.Failed = errorf(Failed, "cannot read a render")
		return a
	}
	c := &closure{root: j.Root, fileSystem: fileSystem{files: j.Files, dirs: j.Dirs}, roles: make(map[string]role, len(j.Roles)), sorted: j.Sorted, made: j.Made, opened: make(map[string]*opened, len(j.Opened)), skipEncrypted: j.Skip}
	for p, values := range j.Opened {
		c.opened[p] = &opened{values: values}
	}
	for p, r := range j.Roles {
		c.roles[p] = role(r)
	}
	return recovered(func() jobResult { return c.result(j.Common) })
}

// recovered returns what f returns, or what is to be told of its panic, and counts those of libraries.
func recovered(f func() jobResult) (a jobResult) {
	before := recovery.InputTotal()
	defer func() {
		if value := recover(); value != nil {
			p := recovery.Recovered(value)
			a = jobResult{Panicked: &sentPanic{fmt.Sprint(p.Value), p.Stack, p.Function}}
		}
		a.InputPanics = recovery.InputTotal() - before
	}()
	return f()
}

func (c *closure) result(common CommonMetadata) (a jobResult) {
	r, err := render(c, common)
	if err != nil {
		a.Failed = err
		return a
	}
	a.Bundle = object.Bundle{Objects: r.objects}.Encode()
	for _, t := range r.templates {
		a.Templates = append(a.Templates, sentTemplate{t.kind, t.name, t.raw, t.types})
	}
	return a
}

// renderIsolated renders a closure in a process of its own.
func (c *Cache) renderIsolated(key string, input *closure, common CommonMetadata) (*rendered, *Error) {
	data, err := input.encodeJob(common)
	if err != nil {
		return nil, err
	}
	data, err = c.Isolate(key, data, input.weight.isLarge())
	if err != nil {
		return nil, err
	}
	var a jobResult
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&a); err != nil {
		return nil, Transient(Failed, "cannot read what was rendered")
	}
	recovery.CountInputs(a.InputPanics)
	if p := a.Panicked; p != nil {
		return nil, panicked(recovery.FromElsewhere(p.Value, p.Stack, p.Function))
	}
	if a.Failed != nil {
		return nil, a.Failed
	}
	bundle, failed := object.DecodeBundle(a.Bundle)
	if failed != nil {
		return nil, Transient(Failed, "cannot read what was rendered")
	}
	templates := make([]template, len(a.Templates))
	for i, t := range a.Templates {
		templates[i] = template{kind: t.Kind, name: t.Name, raw: t.Raw, types: t.Types}
	}
	return newRendered(bundle.Objects, templates), nil
}
