package factory

import (
	"errors"
	"fmt"
	"strings"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// ErrUnknownField means that the API server would not take a document as it is written.
var ErrUnknownField = errors.New("not as the API server takes it")

// UnmarshalStrict decodes a document of a file and refuses fields that its kind does not have, as the API
// server would. It names all of them: one at a time would be an attempt for each.
func UnmarshalStrict(doc []byte, into any) error {
	data, err := yaml.YAMLToJSONStrict(doc)
	if err != nil {
		return err
	}
	unknown, err := kjson.UnmarshalStrict(data, into)
	if err != nil || len(unknown) == 0 {
		return err
	}
	texts := make([]string, len(unknown))
	for i, err := range unknown {
		texts[i] = err.Error()
	}
	return fmt.Errorf("%w: %s", ErrUnknownField, strings.Join(texts, ", "))
}
