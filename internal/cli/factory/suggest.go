package factory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// NotFound returns the error for an object that does not exist, with the names that come near; kind as a person
// says it.
func NotFound(kind, name, namespace string, known []string) error {
	err := fmt.Errorf("there is no %s %q in namespace %q", kind, name, namespace)
	if near := Nearest(name, known); len(near) > 0 {
		return Next(err, "did you mean %s?", strings.Join(quoted(near), " or "))
	}
	if len(known) == 0 {
		return Next(err, "that namespace has none; 'skerry status -A' lists every namespace, -n names one")
	}
	return Next(err, "there are %s; -n names another namespace", strings.Join(quoted(shortest(known, 8)), ", "))
}

// Nearest returns at most three of the known names that are a typing mistake or a prefix away.
func Nearest(name string, known []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var near []candidate
	for _, k := range known {
		d := distance(name, k)
		if d <= max(1, len(name)/3) || len(name) > 1 && strings.HasPrefix(k, name) {
			near = append(near, candidate{k, d})
		}
	}
	slices.SortFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, c := range near[:min(3, len(near))] {
		names = append(names, c.name)
	}
	return names
}

// distance is how many letters must be put in, left out or changed to get from a to b, swapping two
// neighbours counting as one.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range y {
		rows[0][j+1] = j + 1
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}

func shortest(names []string, n int) []string {
	names = slices.Sorted(slices.Values(names))
	if len(names) > n {
		return append(names[:n:n], "…")
	}
	return names
}

func quoted(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fmt.Sprintf("%q", n)
		if n == "…" {
			out[i] = n
		}
	}
	return out
}
