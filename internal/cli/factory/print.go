package factory

import (
	"encoding/json"
	"fmt"
	"io"

	"sigs.k8s.io/yaml"
)

// Print writes value in the format of -o, "json" or "yaml".
func Print(out io.Writer, format string, value any) error {
	var doc []byte
	var err error
	if format == "json" {
		doc, err = json.MarshalIndent(value, "", "  ")
		doc = append(doc, '\n')
	} else {
		doc, err = yaml.Marshal(value)
	}
	if err != nil {
		return fmt.Errorf("cannot encode as %s: %w", format, err)
	}
	if _, err := out.Write(doc); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}
