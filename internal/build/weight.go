package build

// The limits of one render, counting what is read twice twice: kustomize loads a base again for each
// overlay that names it, so twenty levels of two references each are a million loads. They also bound
// how long a render that nobody waits for any more goes on.
const (
	maxBytes   = 64 << 20
	maxNodes   = 2_000_000
	maxObjects = 5_000
	maxLoads   = 20_000
)

// weight is what kustomize has to do for a part of the input.
type weight struct {
	bytes   int64
	nodes   int64
	objects int
	loads   int
}

func (w weight) plus(other weight) weight {
	return weight{
		bytes:   w.bytes + other.bytes,
		nodes:   w.nodes + other.nodes,
		objects: w.objects + other.objects,
		loads:   w.loads + other.loads,
	}
}

// check refuses what is too heavy.
func (w weight) check() *Error {
	switch {
	case w.bytes > maxBytes:
		return errorf(TooLarge, "the render would read more than %d bytes", maxBytes)
	case w.nodes > maxNodes:
		return errorf(TooLarge, "the render would read more than %d YAML nodes", maxNodes)
	case w.objects > maxObjects:
		return errorf(TooLarge, "the render would have more than %d objects", maxObjects)
	case w.loads > maxLoads:
		return errorf(TooLarge, "the render would load more than %d files, bases counted as often as they are named", maxLoads)
	}
	return nil
}
