package object

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
)

// ManifestNameKey is the annotation that holds how the manifest names an object whose name or namespace
// has the value of a Secret in it: "shop/${DOMAIN}-tls". Only the render sets it. It is part of the object,
// so that every message about the object can name it that way: those of its deletion too, and those about
// an object that is found on a cluster and recorded nowhere.
const ManifestNameKey = "skerry.dev/manifest-name"

// manifestName reads metadata as it stands in a body. Most objects have no such annotation, and are not
// decoded for it.
func manifestName(annotations json.RawMessage) string {
	if !bytes.Contains(annotations, []byte(ManifestNameKey)) {
		return ""
	}
	return stringsOf(annotations)[ManifestNameKey]
}

// Mask hides names that have the values of Secrets in them. It may be used by several goroutines.
type Mask struct {
	mu sync.RWMutex
	// shown maps what is hidden to what a message shows in its place; guarded by mu.
	shown map[string]string
	// hidden are its keys, the longest first; guarded by mu.
	hidden []string
}

// Add hides the name and the namespace of an object where the manifest names them otherwise.
func (m *Mask) Add(id ID, manifestName string) {
	if manifestName == "" {
		return
	}
	namespace, name := splitManifestName(manifestName)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(id.Name, name)
	if namespace != "" {
		m.add(id.Namespace, namespace)
	}
}

// Hide hides texts, each as what it maps to.
func (m *Mask) Hide(texts map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, hidden := range slices.Sorted(maps.Keys(texts)) {
		m.add(hidden, texts[hidden])
	}
}

func (m *Mask) add(hidden, shown string) {
	if hidden == "" || hidden == shown || m.shown[hidden] != "" {
		return
	}
	if m.shown == nil {
		m.shown = map[string]string{}
	}
	m.shown[hidden] = shown
	m.hidden = append(m.hidden, hidden)
	slices.SortFunc(m.hidden, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
}

func splitManifestName(s string) (namespace, name string) {
	namespace, name, found := strings.CutLast(s, "/")
	if !found {
		return "", s
	}
	return namespace, name
}

// ID returns the ID as it may be shown.
func (m *Mask) ID(id ID) ID {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if shown := m.shown[id.Name]; shown != "" {
		id.Name = shown
	}
	if shown := m.shown[id.Namespace]; shown != "" {
		id.Namespace = shown
	}
	return id
}

// shortName is the length in bytes below which a name is hidden only behind a slash, a quote or what is
// before a key in a path: anywhere else it may be a word of the sentence.
const shortName = 3

// Text returns the text as it may be shown: each hidden name that stands in it as a word of its own is
// replaced. "acme" is hidden in "Secret/acme/tls" and "acme-tls", not in "acmeism". A name that "…" cuts off
// is hidden too.
func (m *Mask) Text(text string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(m.hidden) == 0 {
		return text
	}
	var out strings.Builder
	from := 0
	for i := 0; i < len(text); i++ {
		if i > 0 && alphanumeric(text[i-1]) && alphanumeric(text[i]) {
			continue
		}
		if n, shown := m.at(text, i); n > 0 {
			out.WriteString(text[from:i])
			out.WriteString(shown)
			from, i = i+n, i+n-1
		}
	}
	if from == 0 {
		return text
	}
	return out.String() + text[from:]
}

// at returns the length of the hidden name that begins in the text at i, and what stands for it.
func (m *Mask) at(text string, i int) (int, string) {
	rest := text[i:]
	cut, _, isCut := strings.Cut(rest, "…")
	cut = strings.TrimRight(cut, ".")
	for _, hidden := range m.hidden {
		switch {
		case len(hidden) < shortName && (i == 0 || !strings.ContainsRune(`/"'.[=`, rune(text[i-1]))):
		case strings.HasPrefix(rest, hidden) && (len(rest) == len(hidden) || !alphanumeric(rest[len(hidden)]) || !alphanumeric(hidden[len(hidden)-1])):
			return len(hidden), m.shown[hidden]
		case isCut && len(cut) >= shortName && strings.HasPrefix(hidden, cut):
			return len(cut), m.shown[hidden]
		}
	}
	return 0, ""
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
