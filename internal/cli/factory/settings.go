package factory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// Settings are the defaults of the user, which flags override.
type Settings struct {
	// Context of the kubeconfig that leads to the hub.
	Context string `json:"context,omitempty"`
	// Namespace of the objects.
	Namespace string `json:"namespace,omitempty"`
}

// Encode returns the settings as they are kept.
func (s Settings) Encode() ([]byte, error) {
	doc, err := yaml.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the settings: %w", err)
	}
	return doc, nil
}

// Settings returns the user's, and the file that they are kept in: that of SKERRY_CONFIG, or skerry/config.yaml
// below XDG_CONFIG_HOME or ~/.config. A file that is not there has none.
func (f *Factory) Settings() (file string, s Settings, err error) {
	if file = f.Getenv("SKERRY_CONFIG"); file == "" {
		dir, home := f.Getenv("XDG_CONFIG_HOME"), f.Getenv("HOME")
		switch {
		case dir != "":
		case home == "":
			return "", s, nil // a user without a home has no settings
		default:
			dir = filepath.Join(home, ".config")
		}
		file = filepath.Join(dir, "skerry", "config.yaml")
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return file, s, nil
	}
	if err == nil {
		err = yaml.UnmarshalStrict(data, &s)
	}
	if err != nil {
		return file, s, Next(fmt.Errorf("cannot read the settings in %s: %w", file, err), "correct or delete the file")
	}
	return file, s, nil
}
