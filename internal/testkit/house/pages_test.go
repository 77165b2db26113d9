package house

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../../.."

// link is the target of a link of Markdown to a file, without what comes after "#".
var link = regexp.MustCompile(`\]\(([\w./-]+)(?:#[^)]*)?\)`)

// pages returns every page of the repository, by its path from the root. Templates of issues and pull requests are
// read where they are filled in, pages in testdata belong to a test, and licenses of others to their code.
func pages(t *testing.T) []string {
	t.Helper()
	var found []string
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && (name == ".git" || name == "bin" || name == "dist" || name == "playground" || name == "testdata" || name == "ISSUE_TEMPLATE"):
			return fs.SkipDir
		case !d.IsDir() && strings.HasSuffix(name, ".md") && name != "PULL_REQUEST_TEMPLATE.md":
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func links(t *testing.T, page string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, match := range link.FindAllStringSubmatch(string(data), -1) {
		targets = append(targets, filepath.Join(filepath.Dir(page), match[1]))
	}
	return targets
}

// TestEveryPageIsLinkedFromTheREADME: a page that nothing leads to is not read, and grows old.
func TestEveryPageIsLinkedFromTheREADME(t *testing.T) {
	linked := map[string]bool{"README.md": true}
	for _, target := range links(t, "README.md") {
		linked[target] = true
	}
	all := pages(t)
	if len(all) < 20 {
		t.Fatalf("only %d pages: %v", len(all), all)
	}
	for _, page := range all {
		if !linked[page] {
			t.Errorf("README.md does not link %s", page)
		}
	}
}

func TestLinksOfPagesLeadToFiles(t *testing.T) {
	for _, page := range pages(t) {
		for _, target := range links(t, page) {
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links %s: %v", page, target, err)
			}
		}
	}
}
