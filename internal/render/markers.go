package render

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// imagePolicy matches the comment by which Flux's image automation is told which value of a file it may set. Nothing
// here sets one: the comment is reported, because a file that has it looks as if its images were updated.
var imagePolicy = regexp.MustCompile(`#[ \t]*\{[ \t]*"\$imagepolicy"`)

// noteMarkers remembers a file of the closure that has a marker of an image policy.
func (c *closure) noteMarkers(p string, data []byte) {
	if bytes.Contains(data, []byte(`"$imagepolicy"`)) && imagePolicy.Match(data) && !slices.Contains(c.marked, p) {
		c.marked = append(c.marked, p)
	}
}

// IgnoredMarkers explains that the markers of image policies in the files have no effect, and what has; "" without files.
func IgnoredMarkers(files []string) string {
	if len(files) == 0 {
		return ""
	}
	const shown = 3
	where := strings.Join(files[:min(len(files), shown)], ", ")
	switch more := len(files) - shown; {
	case more == 1:
		where += " and 1 more file"
	case more > 1:
		where += fmt.Sprintf(" and %d more files", more)
	}
	return "Markers of image policies ($imagepolicy) have no effect here, and no image is updated by them: " +
		"Flux's image automation, or any other program that commits to the repository, can go on setting the values: " + where
}
