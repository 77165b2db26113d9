// Package bar draws how many of a whole are in which state.
package bar

import "strings"

// Part is a number of things in one state, and how it is drawn.
type Part struct {
	N     int32
	Mark  string
	Paint func(string) string // nil: as it is
}

// Draw draws parts in so many characters. What there is of anything shows, so that one failure among a thousand is
// seen. It is empty when there is nothing.
func Draw(parts []Part, width int) string {
	counts := make([]int32, len(parts))
	for i, p := range parts {
		counts[i] = p.N
	}
	var b strings.Builder
	for i, n := range shares(counts, width) {
		if n == 0 {
			continue
		}
		text := strings.Repeat(parts[i].Mark, n)
		if parts[i].Paint != nil {
			text = parts[i].Paint(text)
		}
		b.WriteString(text)
	}
	return b.String()
}

// shares divides width by the counts. Each count above zero has at least one, and what is over after
// rounding down goes to the largest; counts below zero are taken for zero.
func shares(counts []int32, width int) []int {
	total, largest := int32(0), 0
	for i, n := range counts {
		total += max(n, 0)
		if n > counts[largest] {
			largest = i
		}
	}
	out := make([]int, len(counts))
	if total == 0 {
		return out
	}
	left := width
	for i, n := range counts {
		if n > 0 {
			out[i] = max(1, int(int64(n)*int64(width)/int64(total)))
			left -= out[i]
		}
	}
	out[largest] += left
	return out
}
