package get

import (
	"strings"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/table"
)

// giveWay are the columns that a narrow terminal does without, the first one first.
var giveWay = []string{"AGE", "SEEN", "URL", "VERSION", "UNREACHABLE", "FAILED"}

// fit makes the tables that kubectl's printers wrote as narrow as a terminal. Between two tables is an empty line.
func fit(text string, columns int, headers bool) string {
	tables := strings.Split(strings.TrimSuffix(text, "\n"), "\n\n")
	for i, one := range tables {
		lines := strings.Split(one, "\n")
		if fits(lines, columns) {
			continue
		}
		if rows := rowsOf(lines); headers && rows != nil {
			var b strings.Builder
			table.WriteWithin(&b, rows, columns, giveWay...)
			tables[i] = strings.TrimSuffix(b.String(), "\n")
			continue
		}
		for j := range lines {
			lines[j] = iostreams.Cut(lines[j], columns)
		}
		tables[i] = strings.Join(lines, "\n")
	}
	if text == "" {
		return ""
	}
	return strings.Join(tables, "\n\n") + "\n"
}

func fits(lines []string, columns int) bool {
	for _, line := range lines {
		if iostreams.Width(line) > columns {
			return false
		}
	}
	return true
}

// rowsOf cuts lines into cells where the headings begin, of which the first line consists. It returns nil where a
// cell of a line stands across such a place.
func rowsOf(lines []string) [][]table.Cell {
	starts := startsOf(lines[0])
	rows := make([][]table.Cell, 0, len(lines))
	for _, text := range lines {
		line, row := []rune(text), make([]table.Cell, len(starts))
		for i, start := range starts {
			end := len(line)
			if i+1 < len(starts) {
				end = min(end, starts[i+1])
			}
			if start >= end {
				continue
			}
			if start > 0 && line[start-1] != ' ' {
				return nil
			}
			cell := strings.TrimSpace(string(line[start:end]))
			// A name is recognised by what comes after its kind, and a revision by its beginning.
			row[i] = table.Plain(factory.ShortRevisions(strings.Replace(cell, group+"/", "/", 1)))
		}
		rows = append(rows, row)
	}
	return rows
}

// startsOf returns the characters at which headings begin. kubectl's printers put three spaces or more between them.
func startsOf(header string) []int {
	var starts []int
	for i := range len(header) {
		if header[i] != ' ' && (i == 0 || strings.HasSuffix(header[:i], "  ")) {
			starts = append(starts, i)
		}
	}
	return starts
}
