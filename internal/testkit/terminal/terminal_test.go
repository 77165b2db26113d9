package terminal_test

import (
	"context"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/internal/testkit/terminal"
)

func TestAProgramIsAtATerminal(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := terminal.Start(exec.CommandContext(ctx, "sh", "-c", `trap 'echo interrupted; exit 7' INT; stty size; echo ready; read line; echo "got $line"; while :; do read line; done`), 72, 30)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ see, then string }{{"ready", "a line\n"}, {"got a line", terminal.Interrupt}} {
		if err := s.Await(ctx, regexp.MustCompile(step.see)); err != nil {
			t.Fatal(err)
		}
		if err := s.Type(step.then); err != nil {
			t.Fatal(err)
		}
	}
	text, code, err := s.Wait(ctx)
	if err != nil || code != 7 || !strings.Contains(text, "30 72\n") || !strings.Contains(text, "interrupted\n") {
		t.Errorf("%v, code %d, %q", err, code, text)
	}
}

func TestRulesFindWhatIsAgainstThem(t *testing.T) {
	wide := strings.Repeat("a word ", 12)
	for text, tt := range map[string]struct {
		rules terminal.Rules
		says  string
	}{
		"plain\n":                            {terminal.Rules{Columns: 80, NoEscapes: true}, ""},
		"\x1b[31mred\x1b[0m":                 {terminal.Rules{Columns: 80}, ""},
		"\x1b[32mgreen\x1b[0m":               {terminal.Rules{NoColours: true}, `"\x1b[32m"`},
		"\x1b[33myellow\x1b[0m":              {terminal.Rules{NoEscapes: true}, `"\x1b[33m"`},
		"\r\x1b[Kbusy":                       {terminal.Rules{NoColours: true}, ""},
		"\x1b]0;owned\a":                     {terminal.Rules{}, `"\x1b]"`},
		"\x1b[2J":                            {terminal.Rules{}, `"\x1b[2J"`},
		"\u009b5n":                           {terminal.Rules{}, `there is`},
		wide + "\n":                          {terminal.Rules{Columns: 80}, "84 columns"},
		wide:                                 {terminal.Rules{}, ""},
		strings.Repeat("港 ", 40):             {terminal.Rules{Columns: 80}, "columns"},
		strings.Repeat("path/", 30):          {terminal.Rules{Columns: 80}, ""},
		"\x1b[?7l" + wide + "\n\x1b[?7h":     {terminal.Rules{Columns: 80}, ""},
		"\x1b[?7hon\x1b[?7loff":              {terminal.Rules{}, "without wrapping"},
		"\x1b[0m\x1b[1mbold to the very end": {terminal.Rules{}, "with a colour"},
	} {
		err := tt.rules.Check(text)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%q: %v, want %q", text, err, tt.says)
		}
	}
}
