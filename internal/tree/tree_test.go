package tree

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadFile(t *testing.T) {
	tr, err := New("sha1:x", map[string]File{
		"apps/web.yaml":     {Data: []byte("web")},
		"apps/deep/in/a":    {Data: []byte("a")},
		"link":              {Data: []byte("apps/deep"), Link: true},
		"apps/up":           {Data: []byte("../apps/web.yaml"), Link: true},
		"out":               {Data: []byte("../../etc/passwd"), Link: true},
		"abs":               {Data: []byte("/etc/passwd"), Link: true},
		"loop":              {Data: []byte("loop"), Link: true},
		"apps/deep/sideway": {Data: []byte("../../out"), Link: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, want string
		err        error
	}{
		{name: "apps/web.yaml", want: "web"},
		{name: "./apps//web.yaml", want: "web"},
		{name: "/apps/web.yaml", want: "web"},
		{name: "link/in/a", want: "a"},
		{name: "apps/up", want: "web"},
		{name: "apps/../apps/web.yaml", want: "web"},
		{name: "../etc/passwd", err: ErrOutside},
		{name: "out", err: ErrOutside},
		{name: "abs", err: ErrOutside},
		{name: "link/sideway", err: ErrOutside},
		{name: "loop", err: ErrLinkLoop},
		{name: "apps", err: fs.ErrNotExist},
		{name: "none", err: fs.ErrNotExist},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tr.ReadFile(tc.name)
			if !errors.Is(err, tc.err) || string(got) != tc.want {
				t.Errorf("ReadFile(%q) = %q, %v; want %q, %v", tc.name, got, err, tc.want, tc.err)
			}
		})
	}
	names, err := tr.ReadDir("apps")
	if diff := cmp.Diff([]string{"deep", "up", "web.yaml"}, names); err != nil || diff != "" {
		t.Errorf("ReadDir: %v, %s", err, diff)
	}
	if !tr.IsDir(".") || !tr.IsDir("link/in") || tr.IsDir("apps/web.yaml") || !tr.IsFile("link/in/a") {
		t.Error("IsDir or IsFile is wrong")
	}
}

func TestNewRefusesEscapingPaths(t *testing.T) {
	for _, name := range []string{"../a", "/a", "a//b", ".", "a/../b", ""} {
		if _, err := New("d", map[string]File{name: {}}); !errors.Is(err, ErrOutside) {
			t.Errorf("New(%q) = %v; want ErrOutside", name, err)
		}
	}
}

// broken is a source in which "bad" cannot be read, and "module" is a submodule.
type broken struct{ Source }

var errBroken = errors.New("cannot be read")

func (b broken) Lookup(dir, name string) (Entry, error) {
	if name == "bad" {
		return Entry{}, errBroken
	}
	if name == "module" {
		return Entry{Name: name, Kind: Submodule, ID: name}, nil
	}
	return b.Source.Lookup(dir, name)
}

// TestFailedReadIsNotAnAbsence: all that a caller concludes from "not there" is void then.
func TestFailedReadIsNotAnAbsence(t *testing.T) {
	files, err := New("d", map[string]File{"a": {Data: []byte("a")}, "link": {Data: []byte("bad/x"), Link: true}})
	if err != nil {
		t.Fatal(err)
	}
	tr := Open("d", ".", broken{files.source})
	for _, try := range []func(*Tree){
		func(t *Tree) { t.IsFile("bad") },
		func(t *Tree) { t.IsDir("bad/x") },
		func(t *Tree) { t.IsDir("link") },
		func(t *Tree) { _, _ = t.ReadFile("bad") },
		func(t *Tree) { _, _ = t.ReadDir("bad") },
		func(t *Tree) { _, _ = t.Resolve("bad") },
	} {
		one := tr.Reopen()
		one.IsFile("a")
		one.IsFile("none")
		if one.Err() != nil {
			t.Fatalf("what is not there is no failure: %v", one.Err())
		}
		try(one)
		if !errors.Is(one.Err(), errBroken) {
			t.Errorf("kept %v", one.Err())
		}
	}
}

func TestSubmoduleOf(t *testing.T) {
	files, err := New("d", map[string]File{"a/b": {Data: []byte("a")}, "link": {Data: []byte("a/module/sub"), Link: true}})
	if err != nil {
		t.Fatal(err)
	}
	tr := Open("d", ".", broken{files.source})
	for name, want := range map[string]string{
		"a/module": "a/module", "./a/module/x/y": "a/module", "link/z": "a/module", "a/module/..": "", "a/b": "", "none": "", "..": "",
	} {
		if got := tr.SubmoduleOf(name); got != want {
			t.Errorf("%q lies in %q, want %q", name, got, want)
		}
	}
	if tr.IsDir("a/module") || tr.IsFile("a/module") {
		t.Error("a submodule is a file or a directory")
	}
}
