package signature

import (
	"bytes"
	"errors"
	"strings"
)

// errMalformed is for an object that cannot be told apart into what is signed and its signature.
var errMalformed = errors.New("the object is malformed")

// Object is a commit or an annotated tag, parted into what is signed and the signature.
type Object struct {
	// Payload is what the signature is over: the object without its signature, byte for byte.
	Payload []byte
	// Signature is armored; "" when the object is not signed.
	Signature string
	// Target is the hash of the object that a tag names, and TargetType its type; Name is the name that the
	// tag gives itself. All are empty for a commit.
	Target, TargetType, Name string
}

// Commit parts a raw commit object. Git signs a commit as it is without its gpgsig headers.
func Commit(raw []byte) (Object, error) {
	payload, headers, err := withoutSignature(raw)
	if err != nil {
		return Object{}, err
	}
	return Object{Payload: payload, Signature: headers["gpgsig"]}, nil
}

// Tag parts a raw tag object. Git appends the signature of a tag to its message: it begins at the last line
// that can begin one.
func Tag(raw []byte) (Object, error) {
	payload, headers, err := withoutSignature(raw)
	if err != nil {
		return Object{}, err
	}
	o := Object{Target: headers["object"], TargetType: headers["type"], Name: headers["tag"]}
	if o.Target == "" || o.TargetType == "" || o.Name == "" {
		return Object{}, errMalformed
	}
	at := -1
	for start := 0; start < len(payload); {
		line := payload[start:]
		if armored(line) {
			at = start
		}
		end := bytes.IndexByte(line, '\n')
		if end < 0 {
			break
		}
		start += end + 1
	}
	o.Payload = payload
	if at >= 0 {
		o.Payload, o.Signature = payload[:at], string(payload[at:])
	}
	return o, nil
}

func armored(line []byte) bool {
	return bytes.HasPrefix(line, []byte("-----BEGIN PGP SIGNATURE-----")) || bytes.HasPrefix(line, []byte("-----BEGIN PGP MESSAGE-----")) ||
		bytes.HasPrefix(line, []byte("-----BEGIN SSH SIGNATURE-----")) || bytes.HasPrefix(line, []byte("-----BEGIN SIGNED MESSAGE-----"))
}

// withoutSignature returns the object without the headers gpgsig and gpgsig-sha256, and the headers that
// matter here. One that is there twice is refused: two readers could take different ones.
func withoutSignature(raw []byte) (payload []byte, headers map[string]string, err error) {
	headers = map[string]string{}
	var out bytes.Buffer
	name := ""
	rest := raw
	for len(rest) > 0 && rest[0] != '\n' {
		line, after, found := bytes.Cut(rest, []byte("\n"))
		if !found {
			return nil, nil, errMalformed
		}
		rest = after
		if line[0] == ' ' {
			if name == "" {
				return nil, nil, errMalformed
			}
			if isSignature(name) {
				headers[name] += "\n" + string(line[1:])
				continue
			}
		} else {
			var value string
			name, value, _ = strings.Cut(string(line), " ")
			if _, twice := headers[name]; twice {
				return nil, nil, errMalformed
			}
			if isSignature(name) || name == "object" || name == "type" || name == "tag" {
				headers[name] = value
			}
			if isSignature(name) {
				continue
			}
		}
		out.Write(line)
		out.WriteByte('\n')
	}
	out.Write(rest)
	return out.Bytes(), headers, nil
}

func isSignature(header string) bool { return header == "gpgsig" || header == "gpgsig-sha256" }
