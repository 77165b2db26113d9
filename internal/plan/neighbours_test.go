package plan

import (
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
)

// idOf reads an ID: "Kind.group/namespace/name", without a namespace "Kind.group//name".
func idOf(text string) object.ID {
	words := strings.Split(text, "/")
	kind, group, _ := strings.Cut(words[0], ".")
	return object.ID{Group: group, Kind: kind, Namespace: words[1], Name: words[2]}
}

func setOf(ids ...string) Set {
	var objects []object.Object
	for _, id := range ids {
		objects = append(objects, object.Object{ID: idOf(id)})
	}
	return NewSet(objects)
}

func recordsOf(ids ...string) map[object.ID]inventory.Record {
	out := map[object.ID]inventory.Record{}
	for _, id := range ids {
		out[idOf(id)] = inventory.Record{}
	}
	return out
}

func TestInterestOfNeighbours(t *testing.T) {
	const moves = "ConfigMap/web/moves"
	with := func(n Neighbour) Neighbours { return Neighbours{Assigned: []Neighbour{n}} }
	created := map[object.ID]inventory.Record{idOf(moves): {Created: true}}
	for name, tc := range map[string]struct {
		of   Neighbours
		id   string
		want Interest
	}{
		"no other Kustomization":                         {Neighbours{}, moves, NoInterest},
		"one that desires something else":                {with(Neighbour{Loaded: true, Desired: setOf("ConfigMap/web/other")}), moves, NoInterest},
		"one that desires it":                            {with(Neighbour{Loaded: true, Desired: setOf(moves)}), moves, Assigned},
		"one whose bundle is not known":                  {with(Neighbour{}), moves, Undecided},
		"one of two whose bundle is not known":           {Neighbours{Assigned: []Neighbour{{}, {Loaded: true, Desired: setOf(moves)}}}, moves, Assigned},
		"the Namespace of what one desires":              {with(Neighbour{Loaded: true, Desired: setOf(moves)}), "Namespace//web", Assigned},
		"the definition of what one desires":             {with(Neighbour{Loaded: true, Desired: setOf("Thing.example.com/web/a")}), "CustomResourceDefinition.apiextensions.k8s.io//things.example.com", Assigned},
		"a custom resource of the cluster, named in one": {with(Neighbour{Loaded: true, Desired: setOf("Thing.example.com/web/a")}), "Thing.example.com//a", Assigned},
		"the last good bundle of one that has it":        {with(Neighbour{Loaded: true, LastGood: setOf(moves), Recorded: recordsOf(moves)}), moves, Assigned},
		"the last good bundle of one that released it":   {with(Neighbour{Loaded: true, LastGood: setOf(moves), Recorded: recordsOf()}), moves, NoInterest},
		"a bundle that is to come":                       {Neighbours{Expected: []Set{setOf(moves)}}, moves, Expected},
		"a bundle that was undone":                       {Neighbours{Undone: setOf(moves), Recorded: recordsOf(moves)}, moves, Expected},
		"a bundle that was undone, and created it":       {Neighbours{Undone: setOf(moves), Recorded: created}, moves, NoInterest},
		"the hub does not know":                          {Neighbours{Unknown: true}, moves, Undecided},
		"the hub does not know, and one desires it":      {Neighbours{Unknown: true, Expected: []Set{setOf(moves)}}, moves, Expected},
		"one of another namespace that was refused it": {
			with(Neighbour{Loaded: true, Foreign: true, Desired: setOf(moves), Recorded: recordsOf(), Forbidden: []object.ID{idOf(moves)}}), moves, NoInterest,
		},
		"one of another namespace that was refused it, and has it": {
			with(Neighbour{Loaded: true, Foreign: true, Desired: setOf(moves), Recorded: recordsOf(moves), Forbidden: []object.ID{idOf(moves)}}), moves, Assigned,
		},
		"one of the namespace that was refused it": {
			with(Neighbour{Loaded: true, Desired: setOf(moves), Recorded: recordsOf(), Forbidden: []object.ID{idOf(moves)}}), moves, Assigned,
		},
		"the Namespace of what one of another namespace was refused": {
			with(Neighbour{Loaded: true, Foreign: true, Desired: setOf(moves), Recorded: recordsOf(), Forbidden: []object.ID{idOf(moves)}}), "Namespace//web", NoInterest,
		},
		"one of another namespace that is not admitted": {
			with(Neighbour{Loaded: true, Foreign: true, Unadmitted: true, Desired: setOf(moves), Recorded: recordsOf()}), moves, NoInterest,
		},
		"one of another namespace whose inventory is not known": {
			with(Neighbour{Loaded: true, Foreign: true, Unadmitted: true, Desired: setOf(moves)}), moves, Assigned,
		},
	} {
		if got := tc.of.Interest()(idOf(tc.id)); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

func TestReleaserOfWhatIsContested(t *testing.T) {
	const a, b = "ConfigMap/web/a", "ConfigMap/web/b"
	gives := Neighbour{Name: "giver", Loaded: true, Desired: setOf("ConfigMap/web/stays"), Recorded: recordsOf(a, b)}
	keeps := Neighbour{Name: "keeper", Loaded: true, Desired: setOf(b), Recorded: recordsOf(b)}
	for name, tc := range map[string]struct {
		contested   []string
		others      []Neighbour
		want, first string
	}{
		"nothing is contested":             {others: []Neighbour{gives}},
		"one desires all of it no more":    {[]string{b, a}, []Neighbour{gives}, "giver", a},
		"one is removed":                   {[]string{a}, []Neighbour{{Name: "leaver", Remove: true, Desired: setOf(a), Recorded: recordsOf(a)}}, "leaver", a},
		"one whose bundle is not known":    {[]string{a}, []Neighbour{{Name: "giver", Recorded: recordsOf(a)}}, "", ""},
		"one that has not recorded it":     {[]string{a}, []Neighbour{{Name: "other", Loaded: true}}, "", ""},
		"one object stays with its owner":  {[]string{a, b}, []Neighbour{{Name: "giver", Loaded: true, Recorded: recordsOf(a)}, keeps}, "", ""},
		"its owner is none of the cluster": {[]string{a}, nil, "", ""},
	} {
		var contested []object.ID
		for _, id := range tc.contested {
			contested = append(contested, idOf(id))
		}
		first := object.ID{}
		if tc.first != "" {
			first = idOf(tc.first)
		}
		if releaser, got := Releaser(contested, tc.others); releaser != tc.want || got != first {
			t.Errorf("%s: %q, %v", name, releaser, got)
		}
	}
}
