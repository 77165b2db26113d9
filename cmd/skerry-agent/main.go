// Command skerry-agent keeps the cluster that it runs on at what its hub assigned, and dials out to the hub.
package main

import (
	"os"

	_ "golang.org/x/crypto/x509roots/fallback" // certificate authorities, for an image without files

	"github.com/skerry-dev/skerry/internal/agent"
	"github.com/skerry-dev/skerry/internal/version"
)

func main() { os.Exit(agent.Main(os.Args[1:], version.Version, os.Stdout, os.Stderr)) }
