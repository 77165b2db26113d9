package logs

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// filter is which records are shown; the zero one shows all.
type filter struct {
	cluster       string // "namespace/name"; "" for all
	kustomization string // likewise
	level         *slog.Level
}

func (f filter) isEmpty() bool { return f == filter{} }

// record is one line of a log of the hub or an agent.
type record map[string]any

// parse returns nil for a line that is no record, as those that a crash leaves.
func parse(line string) record {
	r := record{}
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &r) != nil {
		return nil
	}
	return r
}

// matches reports whether a record is one that is asked for.
func (f filter) matches(r record) bool {
	if f.level != nil {
		var level slog.Level
		if err := level.UnmarshalText([]byte(r.text("level"))); err != nil || level < *f.level {
			return false
		}
	}
	return (f.cluster == "" || r.isAbout("cluster", "Cluster", f.cluster)) &&
		(f.kustomization == "" || r.isAbout("kustomization", "Kustomization", f.kustomization))
}

// isAbout reports whether a record names an object, with our key or with that of controller-runtime.
func (r record) isAbout(key, kind, name string) bool {
	return r.text(key) == name || r.text(kind) == name
}

// text is the value of a key. The name of an object is "namespace/name", in whichever way it is logged.
func (r record) text(key string) string {
	switch v := r[key].(type) {
	case nil:
		return ""
	case string:
		return v
	case map[string]any:
		name, isName := v["name"].(string)
		namespace, _ := v["namespace"].(string)
		if isName && len(v) <= 2 {
			return namespace + "/" + name
		}
	}
	raw, err := json.Marshal(r[key])
	if err != nil {
		return fmt.Sprint(r[key])
	}
	return string(raw)
}

// String is a record as a person reads it: time, level and message, then what it is about, then the rest by name.
func (r record) String() string {
	parts := []string{r.text("time"), r.text("level"), r.text("msg")}
	keys := []string{"cluster", "kustomization"}
	for _, key := range slices.Sorted(maps.Keys(r)) {
		if !slices.Contains([]string{"time", "level", "msg", "cluster", "kustomization"}, key) {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		if r[key] != nil {
			parts = append(parts, key+"="+quoted(r.text(key)))
		}
	}
	return strings.Join(parts, " ")
}

func quoted(value string) string {
	if value == "" || strings.ContainsAny(value, " \"=\n\t") {
		return strconv.Quote(value)
	}
	return value
}
