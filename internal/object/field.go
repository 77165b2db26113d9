package object

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// FieldError describes what is wrong with one field of a manifest.
type FieldError struct {
	// ID of the object as far as it is known.
	ID ID
	// Field as people write it: "metadata.labels[version]".
	Field string
	// Value of the field, which is part of the object's identity, or empty.
	Value string
	// Problem ends the sentence that Field begins. It holds no value.
	Problem string
}

// Error returns "Kind/name: field "value" problem", without the parts that are not known.
func (e *FieldError) Error() string {
	text := e.Field
	if e.Value != "" {
		text += fmt.Sprintf(" %q", e.Value)
	}
	text += " " + e.Problem
	switch {
	case e.ID.Kind == "":
		return text
	case e.ID.Name == "":
		return e.ID.Kind + ": " + text
	}
	return e.ID.Kind + "/" + e.ID.Name + ": " + text
}

// WithoutValues returns the message of an error of FromMap without kind, name, namespace and version of
// the object: for those that hold what must not be shown.
func WithoutValues(err error) string {
	if field, ok := errors.AsType[*FieldError](err); ok {
		return field.Field + " " + field.Problem
	}
	return "it is not a valid object"
}

func notAString(v any) string {
	is := "something else"
	switch v.(type) {
	case bool:
		is = "true or false"
	case int, int64, uint64, float64, json.Number:
		is = "a number"
	case []any:
		is = "a list"
	case map[string]any:
		is = "a map"
	}
	return "is not a string but " + is + ": quote it"
}

// checkStrings refuses values that are not strings where the API server takes strings only. YAML makes
// numbers and booleans of 1.10, 007 and true, and the API server's own message names no field.
func checkStrings(id ID, m map[string]any) error {
	if err := checkMetadata(id, "metadata", field(m, "metadata")); err != nil {
		return err
	}
	if id.Group == "" && (id.Kind == "ConfigMap" || id.Kind == "Secret") {
		for _, name := range []string{"data", "stringData", "binaryData"} {
			if err := checkMap(id, name, m[name]); err != nil {
				return err
			}
			if name == "binaryData" || name == "data" && id.Kind == "Secret" {
				if err := checkBase64(id, name, m[name]); err != nil {
					return err
				}
			}
		}
	}
	if id.Group == "" && id.Kind == "Service" {
		return checkMap(id, "spec.selector", field(m, "spec")["selector"])
	}
	if podSpec(id, m) == nil {
		return nil
	}
	at, template := "spec.template.", field(m, "spec", "template")
	spec := field(m, "spec")
	if id.Kind == "CronJob" {
		at, template = "spec.jobTemplate.spec.template.", field(m, "spec", "jobTemplate", "spec", "template")
		spec = field(m, "spec", "jobTemplate", "spec")
	}
	if id.Kind == "Pod" {
		at, template, spec = "", m, nil
	}
	if err := checkMetadata(id, at+"metadata", field(template, "metadata")); err != nil {
		return err
	}
	if err := checkMap(id, at+"spec.nodeSelector", field(template, "spec")["nodeSelector"]); err != nil {
		return err
	}
	if selector := field(spec, "selector"); selector["matchLabels"] != nil {
		return checkMap(id, "spec.selector.matchLabels", selector["matchLabels"])
	}
	return nil
}

// checkBase64 refuses what the API server cannot decode: its message names no key.
func checkBase64(id ID, at string, v any) error {
	values, _ := v.(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		text, _ := values[key].(string)
		if _, err := base64.StdEncoding.DecodeString(text); err != nil {
			return &FieldError{ID: id, Field: at + "[" + key + "]", Problem: "is not base64: encode it, or use stringData"}
		}
	}
	return nil
}

func checkMetadata(id ID, at string, meta map[string]any) error {
	for _, name := range []string{"labels", "annotations"} {
		if err := checkMap(id, at+"."+name, meta[name]); err != nil {
			return err
		}
	}
	return nil
}

func checkMap(id ID, at string, v any) error {
	if v == nil {
		return nil
	}
	values, ok := v.(map[string]any)
	if !ok {
		return &FieldError{ID: id, Field: at, Problem: "is not a map"}
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if value := values[key]; value != nil {
			if _, ok := value.(string); !ok {
				return &FieldError{ID: id, Field: at + "[" + key + "]", Problem: notAString(value)}
			}
		}
	}
	return nil
}
