// Package text words what several rooms tell people. It is pure.
package text

import "fmt"

// Count returns "1 object" or "3 objects".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Plural returns the word for one, or the one for any other number.
func Plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
