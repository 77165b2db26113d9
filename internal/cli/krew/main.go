// Command krew writes the manifest by which krew installs the command line as a plugin of kubectl, for the archives
// of a release. `make release` runs it.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: krew DIRECTORY VERSION URL")
		os.Exit(2)
	}
	written, err := manifest(os.Args[1], os.Args[2], os.Args[3])
	if err == nil {
		_, err = os.Stdout.Write(written)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// plugin is a manifest of krew.googlecontainertools.github.com/v1alpha2.
type plugin struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       spec     `json:"spec"`
}

type metadata struct {
	Name string `json:"name"`
}

type spec struct {
	Version          string     `json:"version"`
	Homepage         string     `json:"homepage"`
	ShortDescription string     `json:"shortDescription"`
	Description      string     `json:"description"`
	Caveats          string     `json:"caveats"`
	Platforms        []platform `json:"platforms"`
}

type platform struct {
	Selector selector `json:"selector"`
	URI      string   `json:"uri"`
	SHA256   string   `json:"sha256"`
	Bin      string   `json:"bin"`
	Files    []file   `json:"files"`
}

type selector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

type file struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// archiveName is the name of an archive: kubectl-skerry_VERSION_OS_ARCH.tar.gz.
var archiveName = regexp.MustCompile(`^kubectl-skerry_(.+)_([a-z0-9]+)_([a-z0-9]+)\.tar\.gz$`)

// version is what krew takes for one.
var version = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+([-+].*)?$`)

// manifest describes the archives in a directory, which are published below the URL.
func manifest(dir, of, url string) ([]byte, error) {
	archives, err := filepath.Glob(filepath.Join(dir, "kubectl-skerry_*.tar.gz"))
	if err != nil {
		return nil, err
	}
	if len(archives) == 0 {
		return nil, fmt.Errorf("there is no kubectl-skerry_*.tar.gz in %s", dir)
	}
	p := plugin{
		APIVersion: "krew.googlecontainertools.github.com/v1alpha2", Kind: "Plugin", Metadata: metadata{Name: "skerry"},
		Spec: spec{
			Version: of, Homepage: "https://github.com/skerry-dev/skerry", ShortDescription: "GitOps for edge fleets",
			Description: "Keeps a fleet of clusters on what Git says, in stages, and tells which commit runs where,\nhow fresh that knowledge is, and why a cluster is not at HEAD.\n",
			Caveats:     "For completion, link kubectl_complete-skerry in your PATH to kubectl-skerry.\n",
		},
	}
	if !version.MatchString(of) { // of a commit without a tag, which is not published
		p.Spec.Version = "v0.0.0-" + of
	}
	for _, archive := range archives {
		name := filepath.Base(archive)
		parts := archiveName.FindStringSubmatch(name)
		if parts == nil || parts[1] != of {
			return nil, fmt.Errorf("%s is not of version %s", name, of)
		}
		data, err := os.ReadFile(archive) //nolint:gosec // the maker of the release names its archives
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		bin := "kubectl-skerry"
		if parts[2] == "windows" {
			bin += ".exe"
		}
		p.Spec.Platforms = append(p.Spec.Platforms, platform{
			Selector: selector{MatchLabels: map[string]string{"os": parts[2], "arch": parts[3]}},
			URI:      strings.TrimSuffix(url, "/") + "/" + name, SHA256: hex.EncodeToString(sum[:]), Bin: bin,
			Files: []file{{From: bin, To: "."}, {From: "LICENSE", To: "."}},
		})
	}
	return yaml.Marshal(p)
}
