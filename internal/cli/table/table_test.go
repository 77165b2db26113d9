package table

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
		72: `NAME                      READY  REVISION           SOURCE  MESSAGE
a-name-that-is-longer-t…  yes    main@sha1:89abcde  fleet   all is well…
short                     no     main@sha1:89abcde  fleet
`,
		50: `NAME                               READY  REVISION           SOURCE  MESSAGE
a-name-that-is-longer-than-others  yes    main@sha1:89abcde  fleet   all is well…
short                              no     main@sha1:89abcde  fleet
`,
	} {
		var b strings.Builder
		WriteWithin(&b, rows(), columns)
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%d columns (-want +got):\n%s", columns, diff)
		}
	}
}
