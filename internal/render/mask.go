package render

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Values returns the values of a decrypted file, of whatever format: those of YAML or JSON, those behind the
// first "=" of each line, and the lines.
func Values(plain []byte) []string {
	values := generatorValues(string(plain))
	if _, err := scan(plain, false); err == nil {
		_ = eachDocument(plain, func(doc *yaml.Node, _ int) *Error {
			values = append(values, scalars(resolveNode(doc), 0)...)
			return nil
		})
	}
	return values
}

var encryptedText = regexp.MustCompile(`ENC\[AES256_GCM,[^\]]*\]`)

// MaskEncrypted returns an encrypted file without the part of SOPS, with mask for each value that is encrypted:
// what can be shown of it without a key.
func MaskEncrypted(file []byte, from, to Format, mask string) ([]byte, *Error) {
	switch from {
	case FormatYAML, FormatJSON:
		return maskDocuments(file, from, to, mask)
	case FormatDotenv, FormatINI:
		text := string(file)
		if from == FormatINI {
			if at := iniPart.FindStringIndex(text); at != nil {
				text = text[:at[0]]
			}
		}
		var out strings.Builder
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "sops_") || strings.HasPrefix(line, "#ENC[") {
				continue
			}
			out.WriteString(encryptedText.ReplaceAllLiteralString(line, mask))
		}
		return []byte(out.String()), nil
	default: // FormatBinary: all of it is one value
		return []byte(mask), nil
	}
}

func maskDocuments(file []byte, from, to Format, mask string) ([]byte, *Error) {
	if _, err := scan(file, false); err != nil {
		return nil, err
	}
	var docs [][]byte
	err := eachDocument(file, func(doc *yaml.Node, _ int) *Error {
		root := resolveNode(doc)
		if isCiphertext(scalar(root, "kind")) || isCiphertext(scalar(root, "apiVersion")) {
			return errorf(DecryptionFailed, "is encrypted with its apiVersion and kind: open it with --decrypt")
		}
		dropKey(root, "sops")
		maskScalars(root, mask, 0)
		value, err := toValue(root)
		if err != nil {
			return err
		}
		made, err := maskedAs(value, from, to)
		docs = append(docs, made)
		return err
	})
	return joinDocuments(docs), err
}

func maskedAs(value any, from, to Format) ([]byte, *Error) {
	fields, flat := value.(map[string]any)
	if to == FormatDotenv && flat {
		var out bytes.Buffer
		for name, v := range fields {
			text, _ := v.(string)
			out.WriteString(name + "=" + text + "\n")
		}
		return out.Bytes(), nil
	}
	var made []byte
	var err error
	if from == FormatJSON {
		made, err = json.Marshal(value)
	} else {
		made, err = yaml.Marshal(value)
	}
	if err != nil {
		return nil, errorf(DecryptionFailed, "cannot be written")
	}
	return made, nil
}

func dropKey(n *yaml.Node, key string) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = append(n.Content[:i], n.Content[i+2:]...)
			return
		}
	}
}

func maskScalars(n *yaml.Node, mask string, depth int) {
	n = resolveNode(n)
	switch {
	case n == nil || depth > maxDepth:
		return
	case n.Kind == yaml.ScalarNode && isCiphertext(n.Value):
		n.SetString(mask)
	}
	for _, child := range n.Content {
		maskScalars(child, mask, depth+1)
	}
}
