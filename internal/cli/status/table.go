package status

import (
	"strings"
	"unicode/utf8"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// cell is a text and how to paint it.
type cell struct {
	text  string
	paint func(string) string
}

func plain(text string) cell { return cell{text: text} }

// table writes rows with aligned columns, two spaces apart. A column that is empty in every row but
// the first, which holds the headings, is left out.
func table(b *strings.Builder, rows [][]cell) {
	widths := make([]int, len(rows[0]))
	for i, row := range rows {
		for j := range row {
			row[j].text = iostreams.Line(row[j].text)
			if i > 0 && row[j].text != "" {
				widths[j] = max(widths[j], utf8.RuneCountInString(row[j].text), utf8.RuneCountInString(rows[0][j].text))
			}
		}
	}
	for _, row := range rows {
		line, gap := "", 0
		for j, c := range row {
			if widths[j] == 0 {
				continue
			}
			line += strings.Repeat(" ", gap)
			if c.text != "" && c.paint != nil {
				line += c.paint(c.text)
			} else {
				line += c.text
			}
			gap = widths[j] - utf8.RuneCountInString(c.text) + 2
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}
