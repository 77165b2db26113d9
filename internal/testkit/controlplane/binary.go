package controlplane

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

const (
	binaryName = "skerry-controlplane"
	kwokName   = "skerry-kwok"
	modulePath = "github.com/skerry-dev/skerry"
)

// Binary returns the absolute path of the program that holds etcd and the
// Kubernetes programs: $SKERRY_CONTROLPLANE, or bin/skerry-controlplane below
// the root of the Skerry module that the working directory belongs to.
// skerry-kwok is expected beside it.
func Binary() (string, error) {
	path := os.Getenv("SKERRY_CONTROLPLANE")
	if path == "" {
		root, err := moduleRoot()
		if err != nil {
			return "", fmt.Errorf("cannot locate %s: %w; set SKERRY_CONTROLPLANE or run inside the repository", binaryName, err)
		}
		path = filepath.Join(root, "bin", binaryName)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("cannot locate %s: %w", binaryName, err)
	}
	return path, built(path)
}

func kwokBinary() (string, error) {
	path, err := Binary()
	if err != nil {
		return "", err
	}
	path = filepath.Join(filepath.Dir(path), kwokName)
	return path, built(path)
}

func built(path string) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%w; run `make controlplane`", err)
	}
	return nil
}

// moduleRoot is the nearest folder above the working directory with the go.mod
// of Skerry itself; the modules nested in the repository are passed by.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(mod, []byte("module "+modulePath+"\n")) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod of %s above the working directory", modulePath)
		}
		dir = parent
	}
}
