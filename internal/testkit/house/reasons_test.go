package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestReasonsAreOfTheAPI holds that the reason of every event and condition is a constant of api/v1alpha1, from which
// the reference of all reasons is generated: outside of it no text is given as a Reason, and none is named as one.
func TestReasonsAreOfTheAPI(t *testing.T) {
	seen := 0
	for _, room := range []string{"controllers", "internal", "cmd"} {
		err := filepath.WalkDir(filepath.Join("../../..", room), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testkit" {
				return fs.SkipDir
			}
			if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			seen++
			for _, at := range reasonsOutsideOfTheAPI(file) {
				t.Errorf("%s: a reason that is not one of api/v1alpha1", set.Position(at))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 100 {
		t.Errorf("only %d files were read", seen)
	}
}

// reasonsOutsideOfTheAPI returns where a file gives a text as a reason: Reason: "Text", or "Te" + x, and a constant
// of text whose name ends in Reason or Event.
func reasonsOutsideOfTheAPI(file *ast.File) (at []token.Pos) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Reason" && hasText(n.Value) {
				at = append(at, n.Pos())
			}
		case *ast.GenDecl:
			if n.Tok != token.CONST {
				return true
			}
			for _, spec := range n.Specs {
				value := spec.(*ast.ValueSpec)
				for i, name := range value.Names {
					if (strings.HasSuffix(name.Name, "Reason") || strings.HasSuffix(name.Name, "Event")) && i < len(value.Values) && hasText(value.Values[i]) {
						at = append(at, name.Pos())
					}
				}
			}
		}
		return true
	})
	return at
}

// hasText reports whether an expression is a text, or begins or ends with one. What a function is called with, or an
// index, is not looked at.
func hasText(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind == token.STRING && e.Value != `""` && !strings.Contains(e.Value, " ") // a sentence is none
	case *ast.BinaryExpr:
		return hasText(e.X) || hasText(e.Y)
	case *ast.ParenExpr:
		return hasText(e.X)
	}
	return false
}

// TestReasonsOutsideOfTheAPIAreFound holds the test above itself.
func TestReasonsOutsideOfTheAPIAreFound(t *testing.T) {
	const source = `package x
const fooEvent = "Foo"
var a = Event{Reason: "Bar"}
var b = Event{Reason: "Rollout" + string(phase)}
var c = Event{Reason: v1alpha1.PrunedReason, Message: "Reason"}
`
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(reasonsOutsideOfTheAPI(file)); got != 3 {
		t.Errorf("%d found", got)
	}
}
