// Package table writes rows in aligned columns. Whatever stands in a cell is made one line that
// cannot steer a terminal.
package table

import (
	"strings"
	"unicode/utf8"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// Cell is a text and how to paint it.
type Cell struct {
	Text  string
	Paint func(string) string
}

// Plain is a text as it is.
func Plain(text string) Cell { return Cell{Text: text} }

// Painted is a text in a colour.
func Painted(text string, paint func(string) string) Cell { return Cell{Text: text, Paint: paint} }

// Header is a row of plain cells.
func Header(names ...string) []Cell {
	cells := make([]Cell, len(names))
	for i, n := range names {
		cells[i] = Plain(n)
	}
	return cells
}

// Write writes rows with aligned columns, two spaces apart. A column that is empty in every row but
// the first, which holds the headings, is left out.
func Write(b *strings.Builder, rows [][]Cell) { WriteWithin(b, rows, 0) }

// minCell is the width below which no last cell is cut, minColumn that for the others, in characters.
const (
	minCell   = 12
	minColumn = 16
)

// WriteWithin is Write on a terminal of so many columns: where a row does not fit, its last cell is cut with
// "…", down to minCell characters, and then the widest of the others, down to minColumn; where that does not help, they
// stay as they are. Zero columns cut nothing.
func WriteWithin(b *strings.Builder, rows [][]Cell, columns int) {
	widths := make([]int, len(rows[0]))
	for i, row := range rows {
		for j := range row {
			row[j].Text = iostreams.Line(row[j].Text)
			if i > 0 && row[j].Text != "" {
				widths[j] = max(widths[j], utf8.RuneCountInString(row[j].Text), utf8.RuneCountInString(rows[0][j].Text))
			}
		}
	}
	if columns > 0 {
		widths = fit(widths, columns)
	}
	for _, row := range rows {
		line, gap, used := "", 0, 0
		for j, c := range row {
			if widths[j] == 0 {
				continue
			}
			line += strings.Repeat(" ", gap)
			used += gap
			switch {
			case columns > 0 && empty(row[j+1:], widths[j+1:]):
				c.Text = cut(c.Text, max(columns-used, min(widths[j], minCell)))
			case columns > 0:
				c.Text = cut(c.Text, widths[j])
			}
			used += utf8.RuneCountInString(c.Text)
			if c.Text != "" && c.Paint != nil {
				line += c.Paint(c.Text)
			} else {
				line += c.Text
			}
			gap = widths[j] - utf8.RuneCountInString(c.Text) + 2
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// fit makes columns narrower, where a row fits then.
func fit(widths []int, columns int) []int {
	var shown []int // the columns that are not empty
	for j, width := range widths {
		if width > 0 {
			shown = append(shown, j)
		}
	}
	if narrowed, ok := narrow(widths, shown, columns); ok {
		return narrowed
	}
	return widths
}

// narrow takes from the widest of the shown columns, but for the last, and returns whether a row fits then.
func narrow(widths, shown []int, columns int) ([]int, bool) {
	out := make([]int, len(widths))
	total := 0
	for i, j := range shown {
		out[j] = widths[j]
		total += widths[j]
		if i == len(shown)-1 {
			total += min(widths[j], minCell) - widths[j] // cut in each row
		} else {
			total += 2
		}
	}
	for total > columns {
		widest := -1
		for _, j := range shown[:max(0, len(shown)-1)] {
			if out[j] > minColumn && (widest < 0 || out[j] > out[widest]) {
				widest = j
			}
		}
		if widest < 0 {
			return out, false
		}
		out[widest]--
		total--
	}
	return out, true
}

// empty reports whether nothing of the cells is shown.
func empty(cells []Cell, widths []int) bool {
	for i, c := range cells {
		if c.Text != "" && widths[i] > 0 {
			return false
		}
	}
	return true
}

func cut(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	return strings.TrimRight(string(runes[:width-1]), " ") + "…"
}
