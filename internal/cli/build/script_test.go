package build_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/skerry-dev/skerry/internal/cli"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/decrypt"
)

// TestMain lets the program of the tests be skerry-sops.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		if err := decrypt.Serve(context.Background(), os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestOffline runs the scripts in testdata with the command line in-process: `skerry [CODE] ARGS...`.
// None of them has an API server to ask.
func TestOffline(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"skerry": func(ts *testscript.TestScript, neg bool, args []string) {
				want := 0
				if n, err := strconv.Atoi(args[0]); err == nil {
					want, args = n, args[1:]
				}
				f := factory.New("v0.0.0-test", func(string) string { return "" })
				streams, _, out, errOut := iostreams.Test()
				f.IO = streams
				f.SOPSCommand = []string{"/usr/bin/env", "-i", "HOME=" + ts.Getenv("WORK"), "SOPS_AGE_KEY=" + ts.Getenv("SOPS_AGE_KEY"), "SOPS_AGE_KEY_FILE=" + ts.Getenv("SOPS_AGE_KEY_FILE"), os.Args[0], "serve"}
				f.Hub = func() (*factory.Hub, error) { return nil, errors.New("the hub was asked for") }
				code := cli.Run(t.Context(), f, args)
				_, _ = ts.Stdout().Write(out.Bytes())
				_, _ = ts.Stderr().Write(errOut.Bytes())
				if code != want || neg {
					ts.Fatalf("exit code %d, want %d", code, want)
				}
			},
		},
	})
}
