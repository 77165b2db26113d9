package text

import "unique"

// Shared returns the text, of which there is one in memory however many are kept. It is for what thousands of objects have
// in common, as names of Kustomizations, revisions and reasons: what is decoded is a copy each. A text that only one object
// has takes more memory than before.
func Shared[T ~string](text T) T { return T(unique.Make(string(text)).Value()) }

// Share replaces texts by what Shared returns of them.
func Share[T ~string](texts ...*T) {
	for _, t := range texts {
		*t = Shared(*t)
	}
}
