package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const wanted = `apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: skerry
spec:
  caveats: |
    For completion, link kubectl_complete-skerry in your PATH to kubectl-skerry.
  description: |
    Keeps a fleet of clusters on what Git says, in stages, and tells which commit runs where,
    how fresh that knowledge is, and why a cluster is not at HEAD.
  homepage: https://github.com/skerry-dev/skerry
  platforms:
  - bin: kubectl-skerry
    files:
    - from: kubectl-skerry
      to: .
    - from: LICENSE
      to: .
    selector:
      matchLabels:
        arch: arm64
        os: linux
    sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
    uri: https://example.com/v1.2.0/kubectl-skerry_v1.2.0_linux_arm64.tar.gz
  - bin: kubectl-skerry.exe
    files:
    - from: kubectl-skerry.exe
      to: .
    - from: LICENSE
      to: .
    selector:
      matchLabels:
        arch: amd64
        os: windows
    sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    uri: https://example.com/v1.2.0/kubectl-skerry_v1.2.0_windows_amd64.tar.gz
  shortDescription: GitOps for edge fleets
  version: v1.2.0
`

func TestManifestOfARelease(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"kubectl-skerry_v1.2.0_linux_arm64.tar.gz": "abc", "kubectl-skerry_v1.2.0_windows_amd64.tar.gz": "", "skerry_v1.2.0_linux_arm64": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := manifest(dir, "v1.2.0", "https://example.com/v1.2.0/")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := manifest(dir, "v1.3.0", "https://example.com"); err == nil {
		t.Error("archives of another version are taken")
	}
	if _, err := manifest(t.TempDir(), "v1.2.0", "https://example.com"); err == nil {
		t.Error("a release without archives has a manifest")
	}
}
