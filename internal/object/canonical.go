package object

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"strings"
)

// canonical returns v, which decoding a manifest yields, as compact JSON with sorted keys. It escapes only what
// JSON demands, not what HTML would read; bytes that are no UTF-8 become U+FFFD. The digest of an object is made
// of these bytes, so with other ones every object of a fleet is applied once more.
func canonical(v map[string]any) ([]byte, error) {
	data, err := json.Marshal(v, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if at, ok := errors.AsType[*json.SemanticError](err); ok { // whose text has the value
		return nil, fmt.Errorf("%s is no JSON value", strings.ReplaceAll(string(at.JSONPointer), "/", "."))
	}
	return data, err
}
