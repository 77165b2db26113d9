package cli

import (
	"bytes"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// fitHelp lets the help of all commands fit into the terminal, where Out is one.
func fitHelp(root *cobra.Command, s *iostreams.IOStreams) {
	columns := s.Width()
	if columns == 0 {
		return
	}
	plain := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		var text bytes.Buffer
		cmd.SetOut(&text)
		plain(cmd, args)
		cmd.SetOut(s.Out)
		_, _ = io.WriteString(s.Out, fitted(text.String(), columns))
	})
}

const (
	// proseColumns is the width beyond which a line of prose is tiring to read.
	proseColumns = 100
	// leastDescription is what a flag's description has of the line at least.
	leastDescription = 20
)

// listed is an indented line: a flag, command or number, if any, and what is said of it.
var listed = regexp.MustCompile(`^( +(?:\S.*? {2,}|[0-9]+\. )?)(\S.*)$`)

// fitted wraps a help text: its prose, and what is said of flags and commands. Examples and command lines stay as they
// are, to be copied.
func fitted(text string, columns int) string {
	var b strings.Builder
	var prose []string // lines of one paragraph
	flush := func() {
		if len(prose) > 0 {
			b.WriteString(iostreams.WrapWords(strings.Join(prose, " "), min(columns, proseColumns)) + "\n")
		}
		prose = nil
	}
	copied := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch parts := listed.FindStringSubmatch(line); {
		case line != "" && line[0] != ' ':
			prose = append(prose, line)
			if strings.HasSuffix(line, ":") {
				copied = line == "Examples:" || line == "Usage:"
			}
		case !copied && parts != nil && iostreams.Width(line) > columns && columns-iostreams.Width(parts[1]) >= leastDescription:
			flush()
			indent := iostreams.Width(parts[1])
			text := iostreams.WrapWords(parts[2], columns-indent)
			b.WriteString(parts[1] + strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", indent)) + "\n")
		default:
			flush()
			b.WriteString(line + "\n")
		}
	}
	flush()
	return b.String()
}
