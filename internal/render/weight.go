package render

// The limits of one render, counting what is read twice twice: kustomize loads a base again for each
// overlay that names it, so twenty levels of two references each are a million loads. They also bound
// how long a render goes on whose caller has given up.
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
	// config is the part of bytes that changes objects: patches, and kustomizations that do more than to
	// list files. kustomize may add all of it to each node.
	config int64
	// multiplies reports that something copies content between objects, which no sum of sizes bounds:
	// replacements, vars, transformers, "copy" of a JSON patch.
	multiplies bool
}

func (w weight) add(other weight) weight {
	return weight{
		bytes:   w.bytes + other.bytes,
		nodes:   w.nodes + other.nodes,
		objects: w.objects + other.objects,
		loads:   w.loads + other.loads,
		config:  w.config + other.config,

		multiplies: w.multiplies || other.multiplies,
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

// Above these limits a render takes seconds, or memory that the process of a hub may not have. Each
// object is compared with each other, so that the time grows with their square.
const (
	largeBytes   = 8 << 20
	largeNodes   = 300_000
	largeObjects = 600
	largeChanges = 256 << 20 // config × nodes
)

// isLarge reports whether a render takes long.
func (w weight) isLarge() bool {
	return w.bytes > largeBytes || w.nodes > largeNodes || w.objects > largeObjects
}

// isUnbounded reports whether the size of the input does not bound what the render needs.
func (w weight) isUnbounded() bool {
	return w.multiplies || float64(w.config)*float64(w.nodes) > largeChanges
}
