// Package lifeline ends a process when whoever started it is gone.
//
// A parent that is killed outright cannot stop its children, but the kernel
// closes its end of every pipe. The program therefore reads its standard input
// and leaves at end of file. A pipe does this on every Unix and, unlike a
// parent-death signal, does not depend on the thread that forked.
package lifeline

import (
	"io"
	"os"
)

// Env asks for the lifeline when it is set to "stdin". Without it the program
// runs on whatever its standard input is, as a person would expect.
const Env = "SKERRY_LIFELINE"

// Follow returns at once. If the environment asks for it, the process exits
// with status 1 as soon as standard input ends.
func Follow() {
	if os.Getenv(Env) != "stdin" {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}
