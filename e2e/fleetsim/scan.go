package fleetsim

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// eachField calls do for each field of an object, with the value as it is written; false when the
// text is no object, has a name that JSON writes with an escape, or do returns false.
func eachField(s string, do func(name, value string) bool) bool {
	d := json.NewDecoder(strings.NewReader(s))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return false
	}
	for d.More() {
		token, err := d.Token()
		name, _ := token.(string)
		var value json.RawMessage
		if err != nil || !isPlain(name) || d.Decode(&value) != nil || !do(name, string(value)) {
			return false
		}
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return false
	}
	_, err := d.Token()
	return errors.Is(err, io.EOF)
}

// isPlain says whether JSON writes a text as it is.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f || strings.IndexByte(`"\\<>&`, c) >= 0 {
			return false
		}
	}
	return true
}

// plainString returns a string of JSON as encoding/json writes it; false when the text is no string.
func plainString(text string) (string, bool) {
	if len(text) < 2 || text[0] != '"' {
		return "", false
	}
	if !isPlain(text[1 : len(text)-1]) {
		return again(text)
	}
	return text, true
}

func again(text string) (string, bool) {
	var s string
	if json.Unmarshal([]byte(text), &s) != nil {
		return "", false
	}
	b, err := json.Marshal(s)
	return string(b), err == nil
}
