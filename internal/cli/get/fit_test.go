package get

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// printed is what kubectl's printer makes of rows, of which the first one holds the headings.
func printed(t *testing.T, rows ...[]any) string {
	t.Helper()
	of := &metav1.Table{}
	for _, heading := range rows[0] {
		of.ColumnDefinitions = append(of.ColumnDefinitions, metav1.TableColumnDefinition{Name: heading.(string), Type: "string"})
	}
	for _, row := range rows[1:] {
		of.Rows = append(of.Rows, metav1.TableRow{Cells: row})
	}
	var text bytes.Buffer
	w := printers.GetNewTabWriter(&text)
	if err := printers.NewTablePrinter(printers.PrintOptions{}).PrintObj(of, w); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func TestWhatKubectlPrintsFitsIntoATerminal(t *testing.T) {
	const revision = "main@sha1:89abcdef0189abcdef0189abcdef0189abcdef01"
	clusters := printed(t, []any{"Name", "Ready", "Version", "Age"}, []any{"cluster.skerry.dev/shop-1", "True", "v1.36.3", "5d"})
	listed := printed(t,
		[]any{"Name", "URL", "Ready", "Revision", "Status", "Age"},
		[]any{"gitrepository.skerry.dev/fleet", "https://git.example/team/fleet", "True", revision, "Fetched revision " + revision, "5d"},
		[]any{"gitrepository.skerry.dev/東京", "https://git.example/team/gone", "False", "", "the server does not answer: 東京", "5m"},
	) + "\n" + clusters
	for columns, want := range map[int]string{
		80: `NAME                 READY  REVISION           STATUS
gitrepository/fleet  True   main@sha1:89abcde  Fetched revision main@sha1:89abc…
gitrepository/東京   False                     the server does not answer: 東京

` + clusters,
		60: `NAME                 READY  REVISION           STATUS
gitrepository/fleet  True   main@sha1:89abcde  Fetched revi…
gitrepository/東京   False                     the server d…

` + clusters,
	} {
		if diff := cmp.Diff(want, fit(listed, columns, true)); diff != "" {
			t.Errorf("%d columns (-want +got):\n%s", columns, diff)
		}
	}
	if got := fit(listed, 300, true); got != listed {
		t.Errorf("what fits is changed:\n%s", got)
	}
	for line := range strings.Lines(fit(listed, 60, false)) {
		if width := iostreams.Width(strings.TrimSuffix(line, "\n")); width > 60 {
			t.Errorf("without headings a line takes %d: %s", width, line)
		}
	}
	if got := fit("", 80, true); got != "" {
		t.Errorf("nothing becomes %q", got)
	}
}
