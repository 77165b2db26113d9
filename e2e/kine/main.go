// skerry-kine is kine on SQLite, as k3s runs it, for `make e2e-kine`: the store of most small clusters.
// It ends with the process that started it, as the programs of e2e/controlplane do.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/k3s-io/kine/pkg/app"
)

func main() {
	if os.Getenv("SKERRY_LIFELINE") == "stdin" {
		go func() { // ends the process when its parent is gone
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
	}
	if err := app.New().Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
