package link

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/text"
)

// ShortDigest distinguishes two versions of one entry: 16 hexadecimal digits.
type ShortDigest string

// ErrDiverged is returned for a change after which the receiver does not have the state of the sender: the receiver starts
// again from nothing.
var ErrDiverged = errors.New("the change does not lead to the state that was signed")

func shortDigestOf(value any) (ShortDigest, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("cannot encode an entry: %w", err)
	}
	sum := sha256.Sum256(data)
	return ShortDigest(hex.EncodeToString(sum[:8])), nil
}

// Entry is an entry of an Assignment as the hub encoded it. The bytes are kept, so that a digest is the same for an
// agent whose version does not know each of its fields; on the hub, once for all clusters that have the same entry.
type Entry struct {
	Name string
	raw  string // JSON
}

// NewEntries encodes the entries, sorted by name.
func NewEntries(entries []v1alpha1.AssignmentEntry) ([]Entry, error) {
	out := make([]Entry, 0, len(entries))
	for i := range entries {
		raw, err := json.Marshal(&entries[i])
		if err != nil {
			return nil, fmt.Errorf("cannot encode an entry: %w", err)
		}
		out = append(out, Entry{Name: entries[i].Name, raw: text.Shared(string(raw))})
	}
	slices.SortFunc(out, byName)
	return out, nil
}

func byName(a, b Entry) int { return strings.Compare(a.Name, b.Name) }

// DecodeEntries returns what this version knows of the entries.
func DecodeEntries(entries []Entry) ([]v1alpha1.AssignmentEntry, error) {
	out := make([]v1alpha1.AssignmentEntry, len(entries))
	for i, e := range entries {
		if err := json.Unmarshal([]byte(e.raw), &out[i]); err != nil {
			return nil, fmt.Errorf("cannot decode entry %.80q: %w", e.Name, err)
		}
	}
	return out, nil
}

// MarshalJSON writes the entry as the hub encoded it.
func (e Entry) MarshalJSON() ([]byte, error) { return []byte(e.raw), nil }

// UnmarshalJSON keeps the entry as it is.
func (e *Entry) UnmarshalJSON(data []byte) error {
	var named struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(data, &named); err != nil {
		return err
	}
	if named.Name == "" {
		return errors.New("an entry has no name")
	}
	e.Name, e.raw = named.Name, string(data)
	return nil
}

func (e Entry) digest() ShortDigest {
	sum := sha256.Sum256([]byte(e.raw))
	return ShortDigest(hex.EncodeToString(sum[:8]))
}

// Digest is that of all entries of an Assignment, sorted by name.
func Digest(entries []Entry) string {
	h := sha256.New()
	for _, e := range entries {
		h.Write([]byte(e.raw)) // JSON objects cannot run into one another
		h.Write([]byte{'\n'})
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// HaveEntries returns the digests of the entries.
func HaveEntries(entries []Entry) Have {
	h := Have{Entries: make(map[string]ShortDigest, len(entries))}
	for _, e := range entries {
		h.Entries[e.Name] = e.digest()
	}
	return h
}

// Diff returns the change from what an agent has to the entries, which are sorted by name. UID, generation and
// signature are the caller's to add.
func Diff(has Have, entries []Entry) Assignment {
	a := Assignment{Digest: Digest(entries)}
	now := HaveEntries(entries)
	for _, e := range entries {
		if has.Entries[e.Name] != now.Entries[e.Name] {
			a.Entries = append(a.Entries, e)
		}
	}
	a.Dropped = removedNames(has.Entries, now.Entries)
	return a
}

func removedNames[A, B any](before map[string]A, now map[string]B) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, there := now[name]; !there {
			names = append(names, name)
		}
	}
	return names
}

// Apply returns the entries after the change, sorted by name, or ErrDiverged. It does not look at the signature.
func (a Assignment) Apply(before []Entry) ([]Entry, error) {
	entries := make(map[string]Entry, len(before)+len(a.Entries))
	for _, e := range before {
		entries[e.Name] = e
	}
	for _, e := range a.Entries {
		entries[e.Name] = e
	}
	for _, name := range a.Dropped {
		delete(entries, name)
	}
	after := slices.SortedFunc(maps.Values(entries), byName)
	if Digest(after) != a.Digest {
		return nil, ErrDiverged
	}
	return after, nil
}

// HaveStatuses returns the digests of the statuses, without VerifiedAt.
func HaveStatuses(entries []v1alpha1.AssignmentEntryStatus) (Have, error) {
	h := Have{Entries: make(map[string]ShortDigest, len(entries))}
	for _, e := range entries {
		e.VerifiedAt = nil
		short, err := shortDigestOf(e)
		if err != nil {
			return Have{}, err
		}
		h.Entries[e.Name] = short
	}
	return h, nil
}

// DiffStatuses adds to a report what differs between what the hub has and the statuses. verified is what was reported of
// VerifiedAt: nil for nothing.
func (u *Up) DiffStatuses(has Have, verified map[string]int64, now []v1alpha1.AssignmentEntryStatus) error {
	digests, err := HaveStatuses(now)
	if err != nil {
		return err
	}
	for _, e := range now {
		switch {
		case has.Entries[e.Name] != digests.Entries[e.Name]:
			u.Entries = append(u.Entries, e)
		case e.VerifiedAt != nil && verified[e.Name] != e.VerifiedAt.Unix():
			if u.Verified == nil {
				u.Verified = map[string]int64{}
			}
			u.Verified[e.Name] = e.VerifiedAt.Unix()
		}
	}
	u.Dropped = removedNames(has.Entries, digests.Entries)
	return nil
}

// ApplyStatuses returns the statuses after a report, by name.
func (u *Up) ApplyStatuses(before []v1alpha1.AssignmentEntryStatus) []v1alpha1.AssignmentEntryStatus {
	byName := make(map[string]v1alpha1.AssignmentEntryStatus, len(before)+len(u.Entries))
	for _, e := range before {
		byName[e.Name] = e
	}
	for _, e := range u.Entries {
		byName[e.Name] = e
	}
	for name, at := range u.Verified {
		if e, there := byName[name]; there {
			verified := metav1.Unix(at, 0)
			e.VerifiedAt = &verified
			byName[name] = e
		}
	}
	for _, name := range u.Dropped {
		delete(byName, name)
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b v1alpha1.AssignmentEntryStatus) int { return strings.Compare(a.Name, b.Name) })
}
