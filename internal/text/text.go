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
