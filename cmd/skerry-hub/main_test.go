package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/hub"
)

// The test is here and not beside Main, because Main sets what is the process's own (the logger of
// client-go, the environment), which a hub that another test runs in the same process reads.
func TestMainRefusesWhatItDoesNotKnow(t *testing.T) {
	tests := map[string]struct {
		args []string
		code int
		out  string
		err  string
	}{
		"version":       {args: []string{"--version"}, out: "skerry-hub v1.2.3\n"},
		"help":          {args: []string{"--help"}, err: "Usage: skerry-hub [flags]"},
		"unknown flag":  {args: []string{"--nonsense"}, code: 2, err: "skerry-hub: unknown flag: --nonsense\n"},
		"an argument":   {args: []string{"serve"}, code: 2, err: `skerry-hub: unexpected argument "serve"` + "\n"},
		"log level":     {args: []string{"--log-level=loud"}, code: 1, err: `skerry-hub: --log-level: "loud" is none of debug, info, warn, error` + "\n"},
		"no kubeconfig": {args: []string{"--kubeconfig=/nowhere"}, code: 1, err: "cannot reach the hub's own cluster"},
		"concurrency":   {args: []string{"--concurrency=0"}, code: 1, err: "--concurrency must be at least 1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := hub.Main(tt.args, "v1.2.3", &out, &errs); code != tt.code {
				t.Errorf("exit code %d", code)
			}
			if out.String() != tt.out || !strings.Contains(errs.String(), tt.err) {
				t.Errorf("stdout %q, stderr %q", out.String(), errs.String())
			}
		})
	}
}
