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
