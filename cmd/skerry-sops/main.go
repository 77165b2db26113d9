// Command skerry-sops opens files that SOPS encrypted, for skerry-hub, which starts it when it meets one. It
// reads requests from its standard input and is of no use to people.
package main

import (
	"context"
	"fmt"
	"os"

	_ "golang.org/x/crypto/x509roots/fallback" // certificate authorities, for an image without files

	"github.com/skerry-dev/skerry/internal/decrypt"
)

func main() {
	if err := decrypt.Serve(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
