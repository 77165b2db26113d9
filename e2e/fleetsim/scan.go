package fleetsim

import (
	"encoding/json"
	"strings"
)

// Taking values out of an object with encoding/json reads every byte four times and copies most of
// them. What follows knows just enough of JSON to find where values begin and end; what it does not
// understand goes the long way.

func skipSpace(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\r' || s[i] == '\t') {
		i++
	}
	return i
}

// skipString returns where the string that begins at i ends; -1: it does not.
func skipString(s string, i int) int {
	if i >= len(s) || s[i] != '"' {
		return -1
	}
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// skipValue returns where the value that begins at i ends; -1: it does not.
func skipValue(s string, i int) int {
	depth := 0
	for i < len(s) {
		switch s[i] {
		case '"':
			if i = skipString(s, i); i < 0 {
				return -1
			}
		case '{', '[':
			depth++
			i++
		case '}', ']':
			if depth--; depth < 0 {
				return i
			}
			i++
		case ',', ' ', '\n', '\r', '\t':
			if depth == 0 {
				return i
			}
			i++
		default:
			i++
			continue
		}
		if depth == 0 && (s[i-1] == '"' || s[i-1] == '}' || s[i-1] == ']') {
			return i
		}
	}
	return -1
}

// eachField calls do for each field of an object, with the value as it is written; false when the
// text is no object, has a name twice or one with an escape in it, or do says so.
func eachField(s string, do func(name, value string) bool) bool {
	i := skipSpace(s, 0)
	if i >= len(s) || s[i] != '{' {
		return false
	}
	if i = skipSpace(s, i+1); i < len(s) && s[i] == '}' {
		return skipSpace(s, i+1) == len(s)
	}
	for {
		end := skipString(s, i)
		if end < 0 || strings.ContainsAny(s[i:end], `\`) {
			return false
		}
		name := s[i+1 : end-1]
		if i = skipSpace(s, end); i >= len(s) || s[i] != ':' {
			return false
		}
		i = skipSpace(s, i+1)
		if end = skipValue(s, i); end <= i || !do(name, s[i:end]) {
			return false
		}
		if i = skipSpace(s, end); i >= len(s) {
			return false
		}
		switch s[i] {
		case ',':
			i = skipSpace(s, i+1)
		case '}':
			return skipSpace(s, i+1) == len(s)
		default:
			return false
		}
	}
}

// plainString returns a string of JSON as encoding/json writes it; false when the text is no string.
func plainString(text string) (string, bool) {
	if len(text) < 2 || text[0] != '"' {
		return "", false
	}
	for i := 0; i < len(text); i++ {
		if c := text[i]; c < ' ' || c >= 0x7f || c == '\\' || c == '<' || c == '>' || c == '&' {
			return again(text)
		}
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
