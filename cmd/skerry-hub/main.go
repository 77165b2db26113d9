// Command skerry-hub watches Git repositories and keeps clusters on what they say.
package main

import (
	"os"

	_ "golang.org/x/crypto/x509roots/fallback" // certificate authorities, for an image without files

	"github.com/skerry-dev/skerry/internal/hub"
	"github.com/skerry-dev/skerry/internal/version"
)

func main() { os.Exit(hub.Main(os.Args[1:], version.Version, os.Stdout, os.Stderr)) }
