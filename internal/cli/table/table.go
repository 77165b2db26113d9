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

// minCell is the width below which no cell is cut, in characters.
const minCell = 12

// WriteWithin is Write on a terminal of so many columns: where a row does not fit, its last cell is cut with
// "…", down to minCell characters. Zero columns cut nothing.
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
	for _, row := range rows {
		line, gap, used := "", 0, 0
		for j, c := range row {
			if widths[j] == 0 {
				continue
			}
			line += strings.Repeat(" ", gap)
			used += gap
			if columns > 0 && empty(row[j+1:]) {
				c.Text = cut(c.Text, max(columns-used, minCell))
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

func empty(cells []Cell) bool {
	for _, c := range cells {
		if c.Text != "" {
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
