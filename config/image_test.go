package config_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestImage builds the images of hub and agent twice, without a network, and looks at what is in them.
func TestImage(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the images twice")
	}
	if _, err := exec.LookPath("buildah"); err != nil {
		t.Skip("buildah is not installed: the images are not built")
	}
	for name, c := range map[string]struct {
		file  string
		files []string
	}{
		"skerry-hub":   {"Dockerfile", []string{"skerry-hub -r-xr-xr-x 0:0", "skerry-sops -r-xr-xr-x 0:0"}},
		"skerry-agent": {"Dockerfile.agent", []string{"skerry-agent -r-xr-xr-x 0:0"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range c.files {
				binary, _, _ := strings.Cut(f, " ")
				if _, err := os.Stat("../bin/" + binary); err != nil {
					t.Skipf("bin/%s is missing: run make build first", binary)
				}
			}
			first, second := buildImage(t, c.file, name), buildImage(t, c.file, name)
			if first.digest != second.digest {
				t.Errorf("two builds are not the same: %s and %s", first.digest, second.digest)
			}
			want := imageConfig{User: "65532:65532", Entrypoint: []string{"/" + name}}
			if diff := cmp.Diff(want, first.config); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.files, first.files); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			out, err := exec.CommandContext(t.Context(), first.binary, "--version").CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), name+" ") {
				t.Errorf("the binary says %q, %v", out, err)
			}
		})
	}
}

type imageConfig struct {
	User       string
	Entrypoint []string
	Cmd        []string
	Volumes    map[string]any
}

type image struct {
	digest string
	config imageConfig
	files  []string
	binary string // as it came out of the image
}

func buildImage(t *testing.T, file, name string) image {
	t.Helper()
	dir := t.TempDir()
	buildah := func(args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		// A store of its own, which needs no kernel feature and touches no image of the machine's.
		cmd := exec.CommandContext(ctx, "buildah", append([]string{"--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", "vfs"}, args...)...)
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("buildah %s: %v\n%s", args[0], err, out)
		}
	}
	buildah("build", "--network", "none", "--timestamp", "0", "--no-cache", "-f", file, "-t", name+":test", ".")
	buildah("push", "--quiet", name+":test", "oci:"+dir+"/image:test")
	return readImage(t, dir+"/image", dir)
}

type descriptor struct{ Digest, MediaType string }

func readImage(t *testing.T, layout, dir string) image {
	t.Helper()
	read := func(name string, into any) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(layout, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(d descriptor) string { return "blobs/" + strings.Replace(d.Digest, ":", "/", 1) }
	var index struct{ Manifests []descriptor }
	read("index.json", &index)
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	read(blob(index.Manifests[0]), &manifest)
	var config struct{ Config imageConfig }
	read(blob(manifest.Config), &config)
	i := image{digest: index.Manifests[0].Digest, config: config.Config, binary: filepath.Join(dir, "binary")}
	program := strings.TrimPrefix(strings.Join(config.Config.Entrypoint, " "), "/")
	for _, layer := range manifest.Layers {
		i.files = append(i.files, readLayer(t, filepath.Join(layout, blob(layer)), program, i.binary)...)
	}
	return i
}

// readLayer lists a layer's files and copies the program out of it.
func readLayer(t *testing.T, name, program, binary string) []string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for archive := tar.NewReader(unzipped); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, h.Name+" "+h.FileInfo().Mode().String()+" "+owner(h))
		if h.Name != program {
			continue
		}
		out, err := os.OpenFile(binary, os.O_CREATE|os.O_WRONLY, 0o700)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(out, archive)
		if err := errors.Join(err, out.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func owner(h *tar.Header) string { return fmt.Sprintf("%d:%d", h.Uid, h.Gid) }
