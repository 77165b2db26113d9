// Command skerry is the command line of Skerry.
package main

import (
	"os"

	"github.com/skerry-dev/skerry/internal/cli"
	"github.com/skerry-dev/skerry/internal/version"
)

func main() { os.Exit(cli.Main(version.Version)) }
