package program

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestExitCodes(t *testing.T) {
	for name, tt := range map[string]struct {
		args           []string
		fails          error
		code           int
		stdout, stderr string
		runs           bool
	}{
		"it runs":              {args: []string{"--place=here"}, runs: true},
		"it fails":             {args: []string{"--place=here"}, runs: true, fails: errors.New("no room"), code: 1, stderr: "skerry-x: no room\n"},
		"its version":          {args: []string{"--version"}, stdout: "skerry-x v1\n"},
		"help":                 {args: []string{"--help"}, stderr: "Usage: skerry-x [flags]\nskerry-x more\n\n      --number"},
		"a flag it has not":    {args: []string{"--plaice"}, code: 2, stderr: "skerry-x: unknown flag: --plaice"},
		"an argument":          {args: []string{"here"}, code: 2, stderr: `skerry-x: unexpected argument "here"`},
		"a value that is none": {args: []string{"--number=x"}, code: 2, stderr: "skerry-x: invalid argument"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			var place string
			ran := false
			code := Program{
				Name: "skerry-x", Version: "v1", Usage: "skerry-x more\n",
				AddFlags: func(f *pflag.FlagSet) { f.StringVar(&place, "place", "", "where"); f.Int("number", 0, "how many") },
				Run:      func() error { ran = place == "here"; return tt.fails },
			}.Main(tt.args, &stdout, &stderr)
			if code != tt.code || ran != tt.runs || stdout.String() != tt.stdout || !strings.Contains(stderr.String(), tt.stderr) || tt.stderr == "" && stderr.Len() > 0 {
				t.Errorf("%d, ran: %v, %q, %q", code, ran, stdout.String(), stderr.String())
			}
		})
	}
}

func TestALogHasTheLevelThatItIsAskedFor(t *testing.T) {
	var out strings.Builder
	log, err := NewLog(&out, "info")
	if err != nil {
		t.Fatal(err)
	}
	log.V(1).Info("small")
	log.Info("large")
	if got := out.String(); !strings.Contains(got, `"msg":"large"`) || strings.Contains(got, "small") {
		t.Error(got)
	}
	if _, err := NewLog(&out, "loud"); err == nil || !strings.Contains(err.Error(), "--log-level") {
		t.Error(err)
	}
}
