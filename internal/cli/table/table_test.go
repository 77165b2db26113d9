package table

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

func TestRowsFitIntoATerminal(t *testing.T) {
	rows := func() [][]Cell {
		return [][]Cell{
			Header("NAME", "READY", "REVISION", "SOURCE", "MESSAGE"),
			Header("a-name-that-is-longer-than-others", "yes", "main@sha1:89abcde", "fleet", "all is well here, and nothing is to be done"),
			Header("short", "no", "main@sha1:89abcde", "fleet", ""),
		}
	}
	for columns, want := range map[int]string{
		0: `NAME                               READY  REVISION           SOURCE  MESSAGE
a-name-that-is-longer-than-others  yes    main@sha1:89abcde  fleet   all is well here, and nothing is to be done
short                              no     main@sha1:89abcde  fleet
`,
		100: `NAME                               READY  REVISION           SOURCE  MESSAGE
a-name-that-is-longer-than-others  yes    main@sha1:89abcde  fleet   all is well here, and nothing…
short                              no     main@sha1:89abcde  fleet
`,
		// SOURCE and then REVISION give way, and less of the message.
		90: `NAME                               READY  REVISION           MESSAGE
a-name-that-is-longer-than-others  yes    main@sha1:89abcde  all is well here, and nothin…
short                              no     main@sha1:89abcde
`,
		70: `NAME                               READY  MESSAGE
a-name-that-is-longer-than-others  yes    all is well here, and nothi…
short                              no
`,
		60: `NAME                               READY  MESSAGE
a-name-that-is-longer-than-others  yes    all is well here,…
short                              no
`,
		45: `NAME                      READY  MESSAGE
a-name-that-…than-others  yes    all is well…
short                     no
`,
	} {
		var b strings.Builder
		WriteWithin(&b, rows(), columns, "SOURCE", "REVISION")
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%d columns (-want +got):\n%s", columns, diff)
		}
	}
}

// TestNoLineIsWiderThanTheTerminal holds for tables of any names, at any terminal that has room for each column.
func TestNoLineIsWiderThanTheTerminal(t *testing.T) {
	words := []string{"", "yes", "shop-1", "東京の港", "a-name-that-is-rather-long-for-a-name", "🚀", "one two three four five six seven eight nine ten", "\x1b[31mred"}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		rows := [][]Cell{Header("NAMESPACE", "NAME", "READY", "", "OBJECT", "MESSAGE")[:2+r.IntN(5)]}
		for range 1 + r.IntN(4) {
			row := make([]Cell, len(rows[0]))
			for j := range row {
				row[j] = Painted(words[r.IntN(len(words))], func(text string) string { return text })
			}
			rows = append(rows, row)
		}
		columns := 6*5 + r.IntN(120)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			var b strings.Builder
			WriteWithin(&b, rows, columns, "NAMESPACE", "")
			for line := range strings.Lines(b.String()) {
				if width := iostreams.Width(strings.TrimSuffix(line, "\n")); width > columns {
					t.Errorf("at %d columns a line takes %d:\n%s", columns, width, b.String())
				}
			}
		})
	}
}

func TestColumnsStayAlignedBesideWideCharacters(t *testing.T) {
	var b strings.Builder
	WriteWithin(&b, [][]Cell{Header("NAME", "READY"), Header("東京", "yes"), Header("shop-1", "no")}, 40)
	want := "NAME    READY\n東京    yes\nshop-1  no\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
