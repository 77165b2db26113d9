package get

import (
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/rest"
)

const (
	// asTable asks the API server for its columns; one that has none answers with the objects.
	asTable = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
	// chunk is how many objects the API server lists at once.
	chunk = 500
)

// request asks for the objects of one kind.
func (o *Options) request(kind string) *resource.Builder {
	return resource.NewBuilder(o.Connection()).Unstructured().
		NamespaceParam(o.Flags.Namespace).DefaultNamespace().AllNamespaces(o.AllNamespaces).
		LabelSelectorParam(o.Selector).FieldSelectorParam(o.FieldSelector).RequestChunksOf(chunk).
		ResourceTypeOrNameArgs(true, append([]string{kind}, o.Names...)...).Latest().
		TransformRequests(func(r *rest.Request) {
			if !o.isTable() {
				return
			}
			r.SetHeader("Accept", asTable)
			if o.SortBy != "" {
				r.Param("includeObject", "Object")
			}
		})
}

// list prints what there is.
func (o *Options) list(to io.Writer) error {
	var failed []error
	var all []*resource.Info
	for _, kind := range o.resources {
		result := o.request(kind).ContinueOnError().Flatten().Do()
		if o.IgnoreNotFound {
			result.IgnoreErrors(apierrors.IsNotFound)
		}
		infos, err := result.Infos()
		if err != nil {
			failed = append(failed, err)
		}
		all = append(all, infos...)
	}
	var err error
	if o.isTable() {
		err = o.printTables(to, all, len(failed) > 0)
	} else {
		err = o.printObjects(to, all)
	}
	if err != nil {
		failed = append(failed, err)
	}
	return utilerrors.Reduce(utilerrors.NewAggregate(failed))
}

// printTables prints a table for each kind of which there is anything.
func (o *Options) printTables(to io.Writer, infos []*resource.Info, failed bool) error {
	printed := false
	for len(infos) > 0 {
		kind := infos[0].Mapping.GroupVersionKind.GroupKind()
		n := 1
		for n < len(infos) && infos[n].Mapping.GroupVersionKind.GroupKind() == kind {
			n++
		}
		tables, rows, err := o.tables(infos[:n])
		if err != nil {
			return err
		}
		infos = infos[n:]
		if rows == 0 {
			continue
		}
		if printed && !o.Table.NoHeaders {
			if _, err := io.WriteString(to, "\n"); err != nil {
				return err
			}
		}
		printed = true
		options := o.Table
		options.Kind = kind
		printer, w := printers.NewTablePrinter(options), printers.GetNewTabWriter(to)
		for _, one := range tables {
			if err := printer.PrintObj(one, w); err != nil {
				return fmt.Errorf("cannot print the table: %w", err)
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	switch {
	case printed, failed, o.IgnoreNotFound && len(o.Names) > 0:
	case o.AllNamespaces:
		o.IO.Progressf("No resources found")
	default:
		o.IO.Progressf("No resources found in %s namespace.", o.Flags.Namespace)
	}
	return nil
}

// tables decodes and sorts what the API server sent of one kind, and counts its rows.
func (o *Options) tables(infos []*resource.Info) (tables []runtime.Object, rows int, err error) {
	var whole *metav1.Table
	for _, info := range infos {
		decoded, err := decodeTable(info.Object)
		if err != nil {
			return nil, 0, err
		}
		if decoded == nil { // an API server without tables: name and age
			tables, rows = append(tables, info.Object), rows+1
			continue
		}
		rows += len(decoded.Rows)
		if whole == nil {
			whole = decoded
			tables = append(tables, whole)
			continue
		}
		whole.Rows = append(whole.Rows, decoded.Rows...)
	}
	if whole != nil && o.SortBy != "" {
		if err := sortRows(whole.Rows, o.SortBy); err != nil {
			return nil, 0, err
		}
	}
	return tables, rows, nil
}

// decodeTable returns nil for what is no table.
func decodeTable(o runtime.Object) (*metav1.Table, error) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok || u.GetKind() != "Table" || u.GroupVersionKind().Group != metav1.GroupName {
		return nil, nil //nolint:nilnil // it is none
	}
	table := &metav1.Table{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, table); err != nil {
		return nil, fmt.Errorf("cannot read the table of the API server: %w", err)
	}
	for i := range table.Rows {
		row := &table.Rows[i].Object
		if row.Raw == nil || row.Object != nil {
			continue
		}
		of, err := runtime.Decode(unstructured.UnstructuredJSONScheme, row.Raw)
		if err != nil {
			return nil, fmt.Errorf("cannot read a row of the API server's table: %w", err)
		}
		row.Object = of
	}
	return table, nil
}

// printObjects prints one object that was named as it is, and all else as a list.
func (o *Options) printObjects(to io.Writer, infos []*resource.Info) error {
	printer, err := o.printer()
	if err != nil {
		return err
	}
	if len(infos) == 0 && o.IgnoreNotFound && len(o.Names) > 0 {
		return nil
	}
	if len(infos) == 1 && len(o.Names) == 1 {
		return printer.PrintObj(infos[0].Object, to)
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": ""}}}
	for _, info := range infos {
		u, ok := info.Object.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("cannot print a %T", info.Object)
		}
		list.Items = append(list.Items, *u)
	}
	if o.SortBy != "" {
		if err := sortObjects(list.Items, o.SortBy); err != nil {
			return err
		}
	}
	return printer.PrintObj(list, to)
}
