package render

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Format is how a file is written that SOPS encrypts.
type Format string

// Formats.
const (
	FormatYAML   Format = "yaml"
	FormatJSON   Format = "json"
	FormatDotenv Format = "dotenv"
	FormatINI    Format = "ini"
	// FormatBinary is any other file; encrypted, it is JSON with all of the file in one value.
	FormatBinary Format = "binary"
)

// Decryption opens files that are encrypted with SOPS, before kustomize reads them. A render without it
// refuses them: what is encrypted is never applied as it is.
type Decryption struct {
	// Keys names the keys that Open has. With other keys everything is decrypted anew.
	Keys string
	// Open returns the plaintext of a file, once it has verified that nothing of the file was changed.
	// Its error has no path, names the recipients of the file, and holds nothing of its content.
	Open func(file []byte, from, to Format) ([]byte, *Error) `json:"-"`
	// Skip leaves encrypted files as they are; Open is not called.
	Skip bool
}

// encryptedMark begins every value that SOPS encrypted.
const encryptedMark = "ENC[AES256_GCM,data:"

// maxEncryptedBytes bounds an encrypted file, as in Flux.
const maxEncryptedBytes = 5 << 20

// holdsCiphertext reports whether a file may be encrypted. Nearly all are not, and cost this one search.
func holdsCiphertext(data []byte) bool { return bytes.Contains(data, []byte(encryptedMark)) }

// opened is what the closure knows of a file that was decrypted.
type opened struct {
	// ciphertext identifies the content in place of the plaintext, of which no digest is to exist: a key of a
	// render is written to the disk, and a short password can be guessed from its digest.
	ciphertext []byte
	// values are what must not be in a message.
	values []string
}

// open decrypts a file, or a part of one.
func (w *walker) open(data []byte, from, to Format) ([]byte, *Error) {
	d := w.options.Decryption
	switch {
	case len(data) > maxEncryptedBytes:
		return nil, errorf(DecryptionFailed, "is encrypted and has more than %d bytes", maxEncryptedBytes)
	case d == nil || d.Open == nil:
		return nil, errorf(DecryptionFailed, "is encrypted with SOPS, and spec.decryption is not set: set decryption.provider to sops and decryption.secretRef to the Secret with the key, or annotate the object with %s: disabled to apply it as it is", v1alpha1.DecryptAnnotation)
	}
	return d.Open(data, from, to)
}

// skips reports whether files stay as they are, encrypted or not.
func (w *walker) skips() bool { return w.options.Decryption != nil && w.options.Decryption.Skip }

// keep remembers that a file was decrypted, and what of it must not be in a message: what the encrypted file
// does not show.
func (w *walker) keep(p string, ciphertext []byte, values []string) {
	o := w.closure.opened[rooted(p)]
	if o == nil {
		o = &opened{ciphertext: ciphertext}
		w.closure.opened[rooted(p)] = o
	}
	for _, value := range values {
		if value = strings.TrimSpace(value); len(value) >= minRedacted && !bytes.Contains(ciphertext, []byte(value)) {
			o.values = append(o.values, value)
		}
	}
}

// decryptManifests decrypts the documents of a YAML file, each with those of the same MAC: SOPS encrypts
// the documents of a file together, and people put files together. It returns nil when nothing is
// encrypted.
func (w *walker) decryptManifests(p string, data []byte) ([]byte, *Error) {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) && json.Valid(data) {
		root, err := parseOne(data)
		if err != nil || !isEncrypted(root) || staysEncrypted(root) {
			return nil, refuseRest(root, err)
		}
		return w.openDocuments(p, data, data, FormatJSON)
	}
	docs := splitDocuments(data)
	macs := make([]string, len(docs))
	found := false
	for i, doc := range docs {
		root, err := parseOne(doc)
		if err != nil {
			return nil, nil //nolint:nilerr // the parser of manifests refuses the file, and names what is wrong with it
		}
		switch {
		case staysEncrypted(root):
		case isEncrypted(root):
			found, macs[i] = true, scalar(resolveNode(lookup(root, "sops")), "mac")
		default:
			if err := refuseRest(root, nil); err != nil {
				return nil, err
			}
		}
	}
	if !found {
		return nil, nil
	}
	var out [][]byte
	done := map[string]bool{}
	for i, doc := range docs {
		switch {
		case macs[i] == "":
			out = append(out, doc)
		case !done[macs[i]]:
			done[macs[i]] = true
			var together [][]byte
			for j := range docs {
				if macs[j] == macs[i] {
					together = append(together, docs[j])
				}
			}
			plain, err := w.openDocuments(p, data, joinDocuments(together), FormatYAML)
			if err != nil {
				return nil, err
			}
			out = append(out, plain)
		}
	}
	return joinDocuments(out), nil
}

// openDocuments decrypts documents of a file that were encrypted together.
func (w *walker) openDocuments(p string, file, docs []byte, f Format) ([]byte, *Error) {
	plain, err := w.open(docs, f, f)
	if err != nil {
		return nil, err
	}
	var values []string
	if _, err := scan(plain, false); err == nil {
		_ = eachDocument(plain, func(doc *yaml.Node, _ int) *Error {
			values = append(values, scalars(resolveNode(doc), 0)...)
			return nil
		})
	}
	w.keep(p, file, values)
	return plain, nil
}

// decryptData decrypts a file that a generator reads under a key; env says that it is read line by line.
func (w *walker) decryptData(p, key string, data []byte, env bool) ([]byte, *Error) {
	from, err := formatOf(data)
	if err != nil || from == "" {
		return data, err
	}
	from, to := formatsFor(from, key, data, env)
	plain, err := w.open(data, from, to)
	if err != nil {
		return nil, err
	}
	w.keep(p, data, generatorValues(string(plain)))
	w.closure.files[rooted(p)] = plain
	return plain, nil
}

// formatsFor returns how a generator's file is decrypted, and what it is written as: by its key, as in
// Flux, and by its content where the key does not tell.
func formatsFor(from Format, key string, data []byte, env bool) (in, out Format) {
	switch {
	case from == FormatJSON && path.Ext(key) != ".json" && isEnvelope(data):
		return FormatBinary, FormatBinary
	case env && (from == FormatJSON || from == FormatYAML):
		return from, FormatDotenv
	case env:
		return from, from
	}
	switch path.Ext(key) {
	case ".yaml", ".yml":
		return from, FormatYAML
	case ".json", ".dockerconfigjson":
		return from, FormatJSON
	case ".env":
		return from, FormatDotenv
	case ".ini":
		return from, FormatINI
	}
	return from, from
}

var (
	dotenvMAC = regexp.MustCompile(`(?m)^sops_mac=`)
	iniPart   = regexp.MustCompile(`(?m)^\[sops\][ \t]*\r?$`)
	// encryptedValue matches a value that is encrypted, in any of the formats; not text that speaks of one.
	encryptedValue = regexp.MustCompile(`(?m)(?:^|[:=-][ \t]*["']?)ENC\[AES256_GCM,data:`)
)

// formatOf returns the format of an encrypted file by its content, "" for one that is not encrypted. The
// error is of one that is, and lacks the part that says how.
func formatOf(data []byte) (Format, *Error) {
	if !holdsCiphertext(data) {
		return "", nil
	}
	root, err := parseOne(data)
	switch {
	case err == nil && isEncrypted(root) && bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")):
		return FormatJSON, nil
	case err == nil && isEncrypted(root):
		return FormatYAML, nil
	case dotenvMAC.Match(data):
		return FormatDotenv, nil
	case iniPart.Match(data):
		return FormatINI, nil
	case encryptedValue.Match(data):
		return "", cutOff()
	}
	return "", nil
}

func cutOff() *Error {
	return errorf(DecryptionFailed, "has values that SOPS encrypted, and not the part sops with their recipients and the MAC: the file was cut off or edited; restore it")
}

// isEnvelope reports whether encrypted JSON is a binary file: it is all in "data".
func isEnvelope(data []byte) bool {
	var top map[string]json.RawMessage
	if json.Unmarshal(data, &top) != nil || len(top) != 2 {
		return false
	}
	var text string
	return json.Unmarshal(top["data"], &text) == nil
}

// isEncrypted reports whether a document is encrypted.
func isEncrypted(root *yaml.Node) bool {
	part := resolveNode(lookup(root, "sops"))
	return part != nil && part.Kind == yaml.MappingNode && (lookup(part, "mac") != nil || lookup(part, "lastmodified") != nil)
}

// staysEncrypted reports whether a document is to be left as it is: it says so, or it is for a controller
// on the cluster that decrypts it there.
func staysEncrypted(root *yaml.Node) bool {
	annotations := resolveNode(lookup(resolveNode(lookup(root, "metadata")), "annotations"))
	return scalar(root, "kind") == sopsSecretKind ||
		isDisabledDecryption(func(key string) string { return scalar(annotations, key) })
}

// sopsSecretKind is the kind of the operators that decrypt on the cluster, whose own field is "sops".
const sopsSecretKind = "SopsSecret"

func isDisabledDecryption(annotation func(string) string) bool {
	for _, key := range []string{v1alpha1.DecryptAnnotation, v1alpha1.FluxDecryptAnnotation} {
		if strings.EqualFold(annotation(key), "disabled") {
			return true
		}
	}
	return false
}

// refuseRest refuses a document that has encrypted values without being an encrypted document.
func refuseRest(root *yaml.Node, err error) *Error {
	if err != nil || isEncrypted(root) || staysEncrypted(root) || !slices.ContainsFunc(plainScalars(root, 0), isCiphertext) {
		return nil //nolint:nilerr // the parser of manifests refuses what is no YAML
	}
	return cutOff()
}

func isCiphertext(value string) bool { return strings.HasPrefix(value, encryptedMark) }

func plainScalars(n *yaml.Node, depth int) (values []string) {
	n = resolveNode(n)
	switch {
	case n == nil || depth > maxDepth:
		return nil
	case n.Kind == yaml.ScalarNode:
		return []string{n.Value}
	}
	for i, child := range n.Content {
		if n.Kind != yaml.MappingNode || i%2 == 1 {
			values = append(values, plainScalars(child, depth+1)...)
		}
	}
	return values
}

// parseOne parses text that has been scanned and should be one document; an empty one is nil.
func parseOne(text []byte) (*yaml.Node, error) {
	if _, err := scan(text, false); err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := decode(yaml.NewDecoder(bytes.NewReader(text)), &doc); err != nil {
		if len(bytes.TrimSpace(text)) == 0 || err.Error() == "EOF" {
			return nil, nil
		}
		return nil, err
	}
	return resolveNode(&doc), nil
}

// splitDocuments cuts a YAML file where kustomize does.
func splitDocuments(data []byte) [][]byte {
	rest := strings.ReplaceAll(string(data), "\r\n", "\n")
	rest = strings.TrimPrefix(rest, "---\n")
	var docs [][]byte
	for {
		cut := separator.FindStringIndex(rest)
		if cut == nil {
			return append(docs, []byte(rest))
		}
		docs = append(docs, []byte(rest[:cut[0]]+"\n"))
		rest = rest[cut[1]:]
	}
}

func joinDocuments(docs [][]byte) []byte {
	var b bytes.Buffer
	for i, doc := range docs {
		if i > 0 {
			b.WriteString("---\n")
		}
		b.Write(doc)
		if len(doc) > 0 && doc[len(doc)-1] != '\n' {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// refuseCiphertext refuses a rendered object that is encrypted still: by a way that its file was not seen
// to be, such as a literal of a generator or an item of a list. raw is the object as JSON.
func (c *closure) refuseCiphertext(m map[string]any, raw []byte) *Error {
	secret := m["kind"] == "Secret" && m["apiVersion"] == "v1"
	if c.skipEncrypted || !secret && !holdsCiphertext(raw) {
		return nil
	}
	metadata, _ := m["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	disabled := isDisabledDecryption(func(key string) string { v, _ := annotations[key].(string); return v })
	if disabled || m["kind"] == sopsSecretKind {
		return nil
	}
	if part, ok := m["sops"].(map[string]any); ok && part["mac"] != nil || anyString(m, isCiphertext) {
		return errorf(DecryptionFailed, "is encrypted with SOPS where that is not looked for: encrypt a file of its own, or annotate the object with %s: disabled to apply it as it is", v1alpha1.DecryptAnnotation)
	}
	if secret {
		return refuseInSecret(m)
	}
	return nil
}

// refuseInSecret refuses a Secret with an encrypted file in it.
func refuseInSecret(m map[string]any) *Error {
	for _, field := range []string{"data", "stringData"} {
		values, _ := m[field].(map[string]any)
		for key, value := range values {
			text, _ := value.(string)
			data := []byte(text)
			if field == "data" {
				plain, err := base64.StdEncoding.DecodeString(text)
				if err != nil {
					continue
				}
				data = plain
			}
			if format, err := formatOf(data); format != "" || err != nil {
				return errorf(DecryptionFailed, "%s[%q] is encrypted with SOPS: name the encrypted file in files or envs of a secretGenerator, or annotate the Secret with %s: disabled to apply it as it is", field, oneLine(key), v1alpha1.DecryptAnnotation)
			}
		}
	}
	return nil
}

func anyString(v any, f func(string) bool) bool {
	switch v := v.(type) {
	case string:
		return f(v)
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { return anyString(item, f) })
	case map[string]any:
		for _, item := range v {
			if anyString(item, f) {
				return true
			}
		}
	}
	return false
}
