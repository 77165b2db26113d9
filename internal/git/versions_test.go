package git

import (
	"strings"
	"testing"
)

func TestHighestVersion(t *testing.T) {
	for _, c := range []struct{ name, within, filter, tags, want string }{
		{"highest, not last", ">=1.0.0", "", "v1.2.0 v1.10.0 v1.9.0", "v1.10.0"},
		{"without v", ">=1.0.0 <2.0.0", "", "1.2.0 2.0.0 1.3.0", "1.3.0"},
		{"caret", "^1.2.0", "", "1.1.9 1.2.1 2.0.0", "1.2.1"},
		{"tilde", "~1.2", "", "1.2.9 1.3.0", "1.2.9"},
		{"wildcard", "1.x", "", "0.9.0 1.0.0 1.4.2 2.1.0", "1.4.2"},
		{"any", "*", "", "0.0.1 0.0.2", "0.0.2"},
		{"or", "1.0.x || 3.0.x", "", "1.0.5 2.0.0 3.0.1", "3.0.1"},
		{"hyphen", "1.0.0 - 1.5.0", "", "1.4.0 1.6.0", "1.4.0"},
		{"no prerelease", ">=1.0.0", "", "1.0.0 1.1.0-rc.1", "1.0.0"},
		{"prereleases", ">=1.0.0-0", "", "1.0.0 1.1.0-rc.1 1.1.0-rc.2", "1.1.0-rc.2"},
		{"only prereleases", ">=1.0.0", "", "1.1.0-rc.1", ""},
		{"other tags are left out", ">=0.0.0", "", "latest 1 1.2 v1.2 release-9.9.9 chart/2.0.0 1.0.0", "1.0.0"},
		{"leading zero", ">=0.0.0", "", "2024.01.02 1.0.0", "1.0.0"},
		{"build by its date", ">=1.0.0", "", "1.0.0+20240102 1.0.0+20231231 1.0.0", "1.0.0+20240102"},
		{"build by its number", ">=1.0.0", "", "1.0.0+build.9 1.0.0+build.10", "1.0.0+build.10"},
		{"the same version twice", ">=1.0.0", "", "v1.0.0 1.0.0", "v1.0.0"},
		{"filter", ">=1.0.0-0", "-stable", "1.0.0-stable.1 1.0.0-stable.2 1.0.0-unstable.9 1.1.0-rc.1", "1.0.0-stable.2"},
		{"filter that matches nothing", ">=1.0.0", "^v", "1.0.0", ""},
		{"nothing", ">=1.0.0", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tags := strings.Fields(c.tags)
			for range 2 { // whatever order the server's list has
				v, err := newVersions(c.within, c.filter)
				if err != nil {
					t.Fatal(err)
				}
				for _, tag := range tags {
					v.consider(tag)
				}
				if got := v.highest(); got != c.want {
					t.Errorf("%v: chose %q, want %q", tags, got, c.want)
				}
				for i, j := 0, len(tags)-1; i < j; i, j = i+1, j-1 {
					tags[i], tags[j] = tags[j], tags[i]
				}
			}
		})
	}
}
