// Command skerry-hub watches Git repositories and keeps clusters on what they say.
package main

import (
	"os"

	"github.com/skerry-dev/skerry/internal/hub"
	"github.com/skerry-dev/skerry/internal/version"
)

func main() { os.Exit(hub.Main(os.Args[1:], version.Version, os.Stdout, os.Stderr)) }
