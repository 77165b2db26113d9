package build

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/report"
)

const hidden = "***"

// minHidden is the length in bytes from which a value of a Secret is looked for in other objects;
// shorter ones stand in any text.
const minHidden = 4

// layer is one Kustomization and what it renders.
type layer struct {
	in   *input
	made []*rendered
	// nested means that it is among what another one renders; err, why nothing is rendered of it.
	nested bool
	err    error
	// path are the Kustomizations that led to it, itself the last.
	path []string
}

// write prints what was rendered, and at the end the errors.
func write(o *Options, layers []layer) error {
	list := []any{}
	var out strings.Builder
	for _, l := range layers {
		objects, err := l.in.print(o, &out, l)
		if err != nil {
			return err
		}
		list = append(list, objects...)
	}
	if err := show(o, list, out.String()); err != nil {
		return err
	}
	var failed error
	for _, l := range layers {
		failed = cmp.Or(l.tell(o), failed)
	}
	return failed
}

// print writes the objects of one Kustomization as text, and returns them.
func (in *input) print(o *Options, out *strings.Builder, l layer) ([]any, error) {
	shown := in.values(o)
	var list []any
	for _, r := range l.made {
		if r.err != nil {
			continue
		}
		switch {
		case l.nested:
			fmt.Fprintf(out, "# Kustomization %s/%s on %s\n", in.ks.Namespace, in.ks.Name, strings.Join(r.clusters, ", "))
		case len(l.made) > 1:
			fmt.Fprintf(out, "# %s\n", strings.Join(r.clusters, ", "))
		}
		in.compare(o, r)
		tellIgnored(o, r)
		if len(r.result.Bundle.Objects) == 0 {
			o.IO.Progressf("%s: nothing is rendered from %s", few(r.clusters), r.result.Path)
		}
		for i := range r.result.Bundle.Objects {
			object, err := decode(r.result.Bundle.Objects[i].Body, shown)
			if err != nil {
				return nil, err
			}
			list = append(list, object)
			doc, err := render.MarshalYAML(object)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(out, "---\n%s", doc)
		}
	}
	return list, nil
}

// tellIgnored prints what of the manifests has no effect.
func tellIgnored(o *Options, r *rendered) {
	if text := object.IgnoredAnnotations(r.result.Bundle.Objects); text != "" {
		o.IO.Progressf("%s %s: annotations that have no effect here: %s", o.IO.Yellow("!"), few(r.clusters), text)
	}
	if text := render.IgnoredMarkers(r.result.Marked); text != "" {
		o.IO.Progressf("%s %s: %s", o.IO.Yellow("!"), few(r.clusters), text)
	}
}

// compare reports whether it is what the hub has assigned: a rollout may hold a cluster at what it has.
func (in *input) compare(o *Options, r *rendered) {
	same := map[string][]string{}
	for _, cluster := range r.clusters {
		if has, ok := in.assigned[cluster]; ok && has.Digest == r.result.Digest {
			same[has.Revision] = append(same[has.Revision], cluster)
		} else if ok && r.result.Bundle.Confidential {
			o.IO.Progressf("%s is assigned revision %s; whether it is this cannot be told: it holds Secrets, whose digest the hub alone can make", cluster, has.Revision)
		} else if ok {
			o.IO.Progressf("%s is assigned something else: revision %s", cluster, has.Revision)
		}
	}
	for _, revision := range slices.Sorted(maps.Keys(same)) {
		o.IO.Progressf("%s: as assigned, revision %s", few(same[revision]), revision)
	}
}

func show(o *Options, list []any, text string) error {
	if o.Output == "json" {
		return factory.Print(o.IO.Out, "json", map[string]any{"apiVersion": "v1", "kind": "List", "items": list})
	}
	if _, err := o.IO.Out.Write([]byte(text)); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

// tell returns which clusters cannot be rendered for and why, in the words of the conditions. One that
// spec.clusters does not name is the hub's own, and there is no other to tell it from.
func (l layer) tell(o *Options) error {
	which, failed := "", false
	if l.nested {
		which = fmt.Sprintf("Kustomization %s/%s: ", l.in.ks.Namespace, l.in.ks.Name)
	}
	say := func(who string, err error) {
		failed = true
		o.IO.Progressf("%s %s%s: %s", o.IO.Red("✗"), which+who, Reason(err), report.Line(err.Error()))
	}
	if l.err != nil {
		say("", l.err)
	}
	for _, r := range l.made {
		who := few(r.clusters) + ": "
		if l.in.ks.Spec.Clusters == nil {
			who = ""
		}
		if r.err != nil {
			say(who, r.err)
		}
	}
	if failed {
		return factory.ErrSilent
	}
	return nil
}

// Reason is that of the condition which an error of rendering becomes.
func Reason(err error) string {
	if stalled, ok := errors.AsType[*report.Stalled](err); ok {
		return stalled.Reason
	}
	if waiting, ok := errors.AsType[*report.Waiting](err); ok {
		return waiting.Reason
	}
	if transient, ok := errors.AsType[*report.Transient](err); ok {
		return transient.Reason
	}
	return "error"
}

// values are those of Secrets that must not be shown, the longest first, as one may be part of another;
// nil when everything may be.
func (in *input) values(o *Options) []string {
	if o.ShowSecrets {
		return nil
	}
	values := []string{}
	for _, secret := range in.secrets {
		for _, value := range secret.Data {
			for _, form := range []string{value, strings.ReplaceAll(value, "\n", "")} {
				if len(form) >= minHidden {
					values = append(values, form)
				}
			}
		}
	}
	slices.SortFunc(values, func(a, b string) int { return cmp.Or(len(b)-len(a), cmp.Compare(a, b)) })
	return slices.Compact(values)
}

// decode returns an object as it is shown; secret is nil when everything may be.
func decode(body []byte, secret []string) (map[string]any, error) {
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // a float64 would round an integer above 2^53
	if err := d.Decode(&object); err != nil {
		return nil, fmt.Errorf("cannot decode what was rendered: %w", err)
	}
	if secret == nil {
		return object, nil
	}
	if object["kind"] == "Secret" && object["apiVersion"] == "v1" {
		for _, field := range []string{"data", "stringData"} {
			data, _ := object[field].(map[string]any)
			for k := range data {
				data[k] = hidden
			}
		}
	}
	return hide(object, secret).(map[string]any), nil
}

// hide replaces the values in every string of an object.
func hide(value any, secret []string) any {
	switch v := value.(type) {
	case string:
		for _, s := range secret {
			v = strings.ReplaceAll(v, s, hidden)
		}
		return v
	case []any:
		for i := range v {
			v[i] = hide(v[i], secret)
		}
	case map[string]any:
		for k := range v {
			v[k] = hide(v[k], secret)
		}
	}
	return value
}
