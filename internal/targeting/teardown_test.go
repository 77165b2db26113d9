package targeting_test

import (
	"testing"
	"time"

	"github.com/skerry-dev/skerry/internal/targeting"
)

func TestADeletionThatIsPartOfALargerOneIsNoDecisionAboutTheEdges(t *testing.T) {
	made := time.Unix(1000, 0)
	before, after := made.Add(-time.Hour), made.Add(time.Second)
	stands := []targeting.Part{
		{Name: "the namespace fleet", Found: true, Created: before, Needed: true, Carries: true},
		{Name: "the definition kustomizations.skerry.dev", Found: true, Created: made, Needed: true, Carries: true},
		{Name: "the namespace skerry-system", Found: true, Created: after},
		{Name: "the Deployment skerry-hub"},
		{Name: "the definition gitrepositories.skerry.dev", Found: true, Created: made, Needed: true},
	}
	with := func(i int, change func(*targeting.Part)) []targeting.Part {
		parts := append([]targeting.Part(nil), stands...)
		change(&parts[i])
		return parts
	}
	for name, tt := range map[string]struct {
		parts []targeting.Part
		want  string
	}{
		"all of it stands":                     {stands, ""},
		"nothing is known to be needed":        {nil, ""},
		"its namespace is being deleted":       {with(0, func(p *targeting.Part) { p.Deleting = true }), "the namespace fleet is being deleted"},
		"its namespace is gone":                {with(0, func(p *targeting.Part) { p.Found = false }), "the namespace fleet is gone"},
		"its namespace came back":              {with(0, func(p *targeting.Part) { p.Created = after }), "the namespace fleet was made anew since"},
		"its definition is being deleted":      {with(1, func(p *targeting.Part) { p.Deleting = true }), "the definition kustomizations.skerry.dev is being deleted"},
		"its definition is gone":               {with(1, func(p *targeting.Part) { p.Found = false }), "the definition kustomizations.skerry.dev is gone"},
		"its definition came back":             {with(1, func(p *targeting.Part) { p.Created = after }), "the definition kustomizations.skerry.dev was made anew since"},
		"the hub's namespace is being deleted": {with(2, func(p *targeting.Part) { p.Deleting = true }), "the namespace skerry-system is being deleted"},
		"a hub that runs elsewhere has none":   {with(2, func(p *targeting.Part) { p.Found = false }), ""},
		"the hub is being deleted":             {with(3, func(p *targeting.Part) { p.Found, p.Deleting = true, true }), "the Deployment skerry-hub is being deleted"},
		"another kind of the hub is gone":      {with(4, func(p *targeting.Part) { p.Found = false }), "the definition gitrepositories.skerry.dev is gone"},
		"another kind of the hub came back":    {with(4, func(p *targeting.Part) { p.Created = after }), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := targeting.TornDown(made, tt.parts); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
