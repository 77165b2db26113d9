// Package table writes rows in aligned columns. Whatever stands in a cell is made one line that
// cannot steer a terminal.
package table

import (
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// Cell is a text and how to paint it. What is painted may have been cut.
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

const (
	// gap is the space between two columns.
	gap = 2
	// textColumn is how much of the last column stays while other columns can give way, minText while they can be
	// cut.
	textColumn, minText = 24, 12
	// minHeading is what is left of a heading, minName of a column that is cut: enough to distinguish a name from
	// others. minColumn is what is left of it at a terminal that is narrower than any that people use.
	minHeading, minName, minColumn = 5, 16, 3
)

// WriteWithin writes rows with aligned columns, two spaces apart, at a terminal of so many columns; zero: in a pipe,
// where nothing is cut. A column that is empty in every row but the first, which holds the headings, is left out. Where
// a row does not fit, these give way, one after the other until it does:
//
//  1. the end of the last column, which holds a message or another text that is found elsewhere as well,
//     down to textColumn;
//  2. whole columns, in the order in which giveWay names their headings;
//  3. more of the last column, down to minText;
//  4. headings that are wider than what stands below them;
//  5. the middle of the cells of the widest other column, down to minName: a name stays known by its beginning and
//     its end;
//  6. at a terminal too narrow even for that, more of every column.
func WriteWithin(b *strings.Builder, rows [][]Cell, columns int, giveWay ...string) {
	cells := make([]int, len(rows[0])) // the widest of each column
	for i, row := range rows {
		for j := range row {
			row[j].Text = iostreams.Line(row[j].Text)
			if i > 0 {
				cells[j] = max(cells[j], iostreams.Width(row[j].Text))
			}
		}
	}
	widths := make([]int, len(cells))
	for j, width := range cells {
		if width > 0 {
			widths[j] = max(width, iostreams.Width(rows[0][j].Text))
		}
	}
	if columns > 0 {
		fit(widths, cells, rows[0], columns, giveWay)
		for j := range rows[0] {
			rows[0][j].Text = iostreams.Cut(rows[0][j].Text, widths[j])
		}
	}
	for _, row := range rows {
		b.WriteString(line(row, widths, columns) + "\n")
	}
}

// line is one row. Its last cell may take what is left of the line, whatever the width of its column.
func line(row []Cell, widths []int, columns int) string {
	out, used, end := "", 0, 0 // end is where the next column begins
	last := lastShown(widths)
	for j, c := range row {
		if widths[j] == 0 {
			continue
		}
		if c.Text == "" {
			end += widths[j] + gap
			continue
		}
		out += strings.Repeat(" ", end-used)
		used = end
		if columns > 0 {
			c.Text = cut(c.Text, j, last, max(widths[j], roomAfter(row, widths, j, columns-used)))
		}
		used += iostreams.Width(c.Text)
		if c.Paint != nil && c.Text != "" {
			c.Text = c.Paint(c.Text)
		}
		out += c.Text
		end += widths[j] + gap
	}
	return strings.TrimRight(out, " ")
}

// roomAfter is what is left of the line where no cell follows.
func roomAfter(row []Cell, widths []int, at, left int) int {
	for j := at + 1; j < len(row); j++ {
		if row[j].Text != "" && widths[j] > 0 {
			return 0
		}
	}
	return left
}

func cut(text string, column, last, width int) string {
	if column == last {
		return iostreams.Cut(text, width)
	}
	return iostreams.CutMiddle(text, width)
}

func lastShown(widths []int) int {
	last := 0
	for j, width := range widths {
		if width > 0 {
			last = j
		}
	}
	return last
}

// fit makes widths narrower until a row takes no more than so many columns; a column of width zero is left out.
func fit(widths, cells []int, header []Cell, columns int, giveWay []string) {
	takes := func(least int) int {
		last, total := lastShown(widths), -gap
		for j, width := range widths {
			switch {
			case width > 0 && j == last:
				total += min(width, least) + gap
			case width > 0:
				total += width + gap
			}
		}
		return total
	}
	for _, heading := range giveWay {
		if takes(textColumn) <= columns {
			break
		}
		if j := slices.IndexFunc(header, func(c Cell) bool { return c.Text == heading }); j >= 0 {
			widths[j] = 0
		}
	}
	last := lastShown(widths)
	for j := range widths {
		if over := takes(minText) - columns; over > 0 && j != last && widths[j] > 0 {
			widths[j] = min(widths[j], max(cells[j], minHeading, widths[j]-over))
		}
	}
	for takes(minText) > columns && narrow(widths, minName, last) {
	}
	for takes(minText) > columns && narrow(widths, minColumn, -1) {
	}
	if over := takes(widths[last]) - columns; over > 0 {
		widths[last] = max(1, widths[last]-over)
	}
}

// narrow takes one from the widest column but one, and reports whether any is wider than least.
func narrow(widths []int, least, but int) bool {
	widest := -1
	for j, width := range widths {
		if j != but && width > least && (widest < 0 || width > widths[widest]) {
			widest = j
		}
	}
	if widest < 0 {
		return false
	}
	widths[widest]--
	return true
}
