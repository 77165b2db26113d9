package get

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/util/jsonpath"
)

// customColumns prints the columns that are asked for: of is what follows "custom-columns" of -o, "=NAME:.path,…" or
// "-file=FILE" with headings in its first line and paths in the second.
func (o *Options) customColumns(of string) (printers.ResourcePrinter, error) {
	file, fromFile := strings.CutPrefix(of, "-file")
	spec, given := strings.CutPrefix(file, "=")
	if template := *o.Print.TemplatePrinterFlags.TemplateArgument; !given {
		spec = template
	}
	if spec == "" {
		return nil, errors.New("-o custom-columns wants columns, for example custom-columns=NAME:.metadata.name,READY:.status.clusters.ready")
	}
	if fromFile {
		text, err := o.ReadFile(spec)
		if err != nil {
			return nil, fmt.Errorf("cannot read the columns: %w", err)
		}
		columns, err := specOf(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", spec, err)
		}
		spec = columns
	}
	p := &columns{noHeaders: o.Table.NoHeaders}
	for part := range strings.SplitSeq(spec, ",") {
		heading, path, ok := strings.Cut(part, ":")
		if !ok || heading == "" || path == "" {
			return nil, fmt.Errorf("%q is no column: it is HEADING:PATH, for example NAME:.metadata.name", part)
		}
		j, err := pathOf(path)
		if err != nil {
			return nil, err
		}
		p.headings, p.paths = append(p.headings, heading), append(p.paths, j)
	}
	return p, nil
}

// specOf returns the columns of a file as they stand on a command line.
func specOf(text []byte) (string, error) {
	var lines [][]string
	scanner := bufio.NewScanner(bytes.NewReader(text))
	for scanner.Scan() {
		if words := strings.Fields(scanner.Text()); len(words) > 0 {
			lines = append(lines, words)
		}
	}
	if scanner.Err() != nil || len(lines) != 2 || len(lines[0]) != len(lines[1]) {
		return "", errors.New("the file has to have a line with headings and a line with as many paths")
	}
	var parts []string
	for i, heading := range lines[0] {
		parts = append(parts, heading+":"+lines[1][i])
	}
	return strings.Join(parts, ","), nil
}

// columns prints objects in columns; what an object does not have is "<none>".
type columns struct {
	headings  []string
	paths     []*jsonpath.JSONPath
	noHeaders bool
	began     bool
}

// PrintObj prints an object, or those of a list.
func (c *columns) PrintObj(o runtime.Object, to io.Writer) error {
	w := printers.GetNewTabWriter(to)
	if !c.began && !c.noHeaders {
		if _, err := fmt.Fprintln(w, strings.Join(c.headings, "\t")); err != nil {
			return err
		}
	}
	c.began = true
	objects := []runtime.Object{o}
	if meta.IsListType(o) {
		var err error
		if objects, err = meta.ExtractList(o); err != nil {
			return err
		}
	}
	for _, one := range objects {
		cells, err := c.cells(one)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (c *columns) cells(o runtime.Object) ([]string, error) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("cannot print a %T", o)
	}
	var cells []string
	for i, path := range c.paths {
		values, err := valuesAt(path, u.Object)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.headings[i], err)
		}
		cell := "<none>"
		if len(values) > 0 {
			texts := make([]string, len(values))
			for i, v := range values {
				texts[i] = printers.EscapeTerminal(fmt.Sprint(v))
			}
			cell = strings.Join(texts, ",")
		}
		cells = append(cells, cell)
	}
	return cells, nil
}
