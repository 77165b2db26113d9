package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
)

// Gate is what a stage belongs to.
type Gate struct {
	// Wave of all objects of the stage.
	Wave int32
	// Waits means that the stage begins when the objects of all earlier waves are healthy. What was changed on
	// the cluster is put back without waiting.
	Waits bool
}

// at orders the stages: by wave, then definitions before the rest, then what is put back before what a commit
// changes.
type at struct {
	wave  int32
	stage int
	waits bool
}

func (a at) compare(b at) int {
	waits := map[bool]int{true: 1}
	return cmp.Or(cmp.Compare(a.wave, b.wave), cmp.Compare(a.stage, b.stage), cmp.Compare(waits[a.waits], waits[b.waits]))
}

// firstWave returns the lowest wave of the objects.
func firstWave(objects []object.Object) int32 {
	if len(objects) == 0 {
		return 0
	}
	return slices.MinFunc(objects, func(a, b object.Object) int { return cmp.Compare(a.Wave, b.Wave) }).Wave
}

// Awaited returns what a wave waits for: an object of an earlier one that is not there as desired, or not
// healthy; "" when the wave may begin. State returns the state of an object, and false where it does not
// stand as desired.
//
//	wave 0: Namespace web (there), Deployment web/db (1 of 2 replicas)
//	wave 1: Deployment web/api      waits for the Deployment web/db
//	wave 2: Ingress web/api         likewise
func Awaited(desired []object.Object, wave int32, state func(object.Object) (health.Status, bool)) string {
	for _, o := range desired {
		if o.Wave >= wave || o.Policy.Mode == object.Ignore {
			continue
		}
		is, stands := state(o)
		switch {
		case !stands:
			return fmt.Sprintf("wave %d begins after wave %d, of which %s is not applied", wave, o.Wave, o.ID)
		case is.Phase == health.Current:
		case is.Message != "":
			return fmt.Sprintf("wave %d begins after wave %d, of which %s is not healthy: %s", wave, o.Wave, o.ID, is.Message)
		default:
			return fmt.Sprintf("wave %d begins after wave %d, of which %s is not healthy", wave, o.Wave, o.ID)
		}
	}
	return ""
}

// holdEarlierWaves holds the deletions of a wave until the objects of all later ones are gone: a controller
// stays until it has taken its finalizers off.
func holdEarlierWaves(in Input, cleanup []Action) {
	last, found := int32(0), false
	for _, a := range cleanup {
		if wave := in.Recorded.Objects[a.ID].Wave; (a.Verb == Delete || a.Verb == Await) && (!found || wave > last) {
			last, found = wave, true
		}
	}
	for i, a := range cleanup {
		if a.Verb == Delete && in.Recorded.Objects[a.ID].Wave < last {
			cleanup[i].Verb, cleanup[i].Why = Hold, LaterWave
		}
	}
}

// Held returns the objects whose deletion waits for later waves.
func (p *Plan) Held() map[object.ID]bool {
	var ids map[object.ID]bool
	for _, a := range p.Cleanup {
		if a.Verb == Hold {
			if ids == nil {
				ids = map[object.ID]bool{}
			}
			ids[a.ID] = true
		}
	}
	return ids
}
