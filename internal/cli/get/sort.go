package get

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/jsonpath"
)

// pathOf parses a JSONPath expression, whose braces and whose first dot may be left out: metadata.name.
func pathOf(expression string) (*jsonpath.JSONPath, error) {
	path := strings.TrimSpace(expression)
	if inner, braced := strings.CutPrefix(path, "{"); braced {
		path = strings.TrimSuffix(inner, "}")
	}
	path = "{." + strings.TrimPrefix(path, ".") + "}"
	j := jsonpath.New("").AllowMissingKeys(true)
	if err := j.Parse(path); err != nil {
		return nil, fmt.Errorf("%q is no JSONPath expression: %w", expression, err)
	}
	return j, nil
}

// valuesAt returns what an object has at a path.
func valuesAt(j *jsonpath.JSONPath, object map[string]any) ([]any, error) {
	results, err := j.FindResults(object)
	if err != nil {
		return nil, err
	}
	var out []any
	for _, group := range results {
		for _, v := range group {
			if v.IsValid() && v.CanInterface() && v.Interface() != nil {
				out = append(out, v.Interface())
			}
		}
	}
	return out, nil
}

// sortObjects sorts by the first value at a path; what has none comes first.
func sortObjects(objects []unstructured.Unstructured, by string) error {
	return sortBy(objects, by, func(u unstructured.Unstructured) map[string]any { return u.Object })
}

// sortRows sorts the rows of a table by their objects.
func sortRows(rows []metav1.TableRow, by string) error {
	return sortBy(rows, by, func(r metav1.TableRow) map[string]any {
		if u, ok := r.Object.Object.(*unstructured.Unstructured); ok {
			return u.Object
		}
		return nil
	})
}

func sortBy[T any](items []T, by string, object func(T) map[string]any) error {
	j, err := pathOf(by)
	if err != nil {
		return err
	}
	type keyed struct {
		value any
		item  T
	}
	keys := make([]keyed, len(items))
	for i, item := range items {
		values, err := valuesAt(j, object(item))
		if err != nil {
			return fmt.Errorf("cannot sort by %s: %w", by, err)
		}
		keys[i].item = item
		if len(values) > 0 {
			keys[i].value = values[0]
		}
	}
	slices.SortStableFunc(keys, func(a, b keyed) int { return compare(a.value, b.value) })
	for i := range keys {
		items[i] = keys[i].item
	}
	return nil
}

// compare compares values of JSON: numbers by their size, texts as a person counts, and nothing before anything.
func compare(a, b any) int {
	if a == nil || b == nil {
		return cmp.Compare(boolToInt(a != nil), boolToInt(b != nil))
	}
	x, isNumber := number(a)
	y, areNumbers := number(b)
	if isNumber && areNumbers {
		return cmp.Compare(x, y)
	}
	return natural(fmt.Sprint(a), fmt.Sprint(b))
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// natural compares texts so that shop-2 comes before shop-10.
func natural(a, b string) int {
	for a != "" && b != "" {
		x, y := digits(a), digits(b)
		if x != "" && y != "" {
			m, _ := strconv.ParseUint(x, 10, 64)
			n, _ := strconv.ParseUint(y, 10, 64)
			if c := cmp.Or(cmp.Compare(m, n), cmp.Compare(len(x), len(y))); c != 0 {
				return c
			}
			a, b = a[len(x):], b[len(y):]
			continue
		}
		if c := cmp.Compare(a[0], b[0]); c != 0 {
			return c
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits are those that a text begins with.
func digits(s string) string { return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))] }
