package medium

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

const (
	hubID   = "hub-1"
	cluster = "fleet/ship-1"
	canary  = "canary-of-a-secret"
)

var made = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func keyOf(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

var hubKey, agentKey = keyOf(1), keyOf(2)

func secret(t *testing.T, name string, size int) object.Object {
	t.Helper()
	u := &unstructured.Unstructured{}
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q,"namespace":"default"},"stringData":{"k":%q}}`, name, canary+strings.Repeat("x", size))
	if err := json.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	o, err := object.FromMap(u.Object)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// store holds bundles by digest.
type store map[string]*object.Bundle

func (s store) add(t *testing.T, objects ...object.Object) string {
	t.Helper()
	b, err := object.NewBundle(objects)
	if err != nil {
		t.Fatal(err)
	}
	b.Confidential = true
	digest := fmt.Sprintf("sha256:%064d", len(s)) // of a bundle with Secrets it is made with a key
	s[digest] = &b
	return digest
}

func (s store) get(digest string) (*object.Bundle, error) {
	if b := s[digest]; b != nil {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

// updateOf makes an update that the hub has signed.
func updateOf(t *testing.T, s store, digests ...string) Update {
	t.Helper()
	var entries []v1alpha1.AssignmentEntry
	u := Update{HubVersion: "v1.0.0", Settings: link.Settings{Suspend: true}}
	for i, d := range digests {
		entries = append(entries, v1alpha1.AssignmentEntry{Name: fmt.Sprintf("app-%d", i), Digest: d})
		u.Bundles = append(u.Bundles, link.NewManifest(d, s[d]))
	}
	encoded, err := link.NewEntries(entries)
	if err != nil {
		t.Fatal(err)
	}
	u.Assignment = link.Diff(link.Have{}, encoded)
	u.Assignment.UID, u.Assignment.Generation = "uid", 7
	u.Assignment.Signature = ed25519.Sign(hubKey, link.AssignmentTranscript(hubID, cluster, u.Assignment))
	return u
}

func write(t *testing.T, s store, u Update) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := WriteUpdate(&out, Label{Hub: hubID, Cluster: cluster, Made: made}, u, hubKey, publicOf(agentKey), s.get); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

var edge = Edge{Hub: hubID, HubKey: publicOf(hubKey), Cluster: cluster, Key: agentKey}

// readAll reads an update to its end.
func readAll(file []byte, e Edge) (Label, Update, store, error) {
	r, err := OpenUpdate(bytes.NewReader(file), e)
	if err != nil {
		return Label{}, Update{}, nil, err
	}
	got := store{}
	for {
		digest, b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Label, r.Update, got, nil
		}
		if err != nil {
			return Label{}, Update{}, nil, err
		}
		got[digest] = b
	}
}

func reasonOf(err error) string {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return refused.Reason
	}
	return fmt.Sprintf("error %v", err)
}

// TestAnUpdateArrivesAsItWas: several bundles, of which one shares an object with another, one is larger than a
// record, and one is empty.
func TestAnUpdateArrivesAsItWas(t *testing.T) {
	s := store{}
	u := updateOf(t, s, s.add(t, secret(t, "a", 10), secret(t, "b", 20)), s.add(t, secret(t, "a", 10), secret(t, "large", 3*link.MaxChunk)), s.add(t))
	file := write(t, s, u)
	if bytes.Contains(file, []byte(canary)) || bytes.Contains(file, []byte("app-0")) {
		t.Error("what is sealed can be read")
	}
	l, got, bundles, err := readAll(file, edge)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Label{Kind: KindUpdate, Hub: hubID, Cluster: cluster, Key: link.Fingerprint(publicOf(agentKey)), Made: made}); l != want {
		t.Errorf("label %+v, not %+v", l, want)
	}
	if diff := cmp.Diff(toJSON(t, u), toJSON(t, got)); diff != "" {
		t.Error(diff)
	}
	if len(bundles) != len(s) {
		t.Fatalf("%d bundles, not %d", len(bundles), len(s))
	}
	for digest, b := range s {
		if !bytes.Equal(bundles[digest].Encode(), b.Encode()) || !bundles[digest].Confidential {
			t.Errorf("bundle %s is another one", digest)
		}
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func reportOf() Report {
	return Report{Number: 9, Version: "v2", ClusterUID: "edge-uid", Up: link.Up{
		Complete: true, Entries: []v1alpha1.AssignmentEntryStatus{{Name: "app", Ready: metav1.ConditionTrue, Reason: "Succeeded", Message: canary}},
	}}
}

func writeReport(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := WriteReport(&out, Label{Hub: hubID, Cluster: cluster, Made: made}, reportOf(), agentKey, publicOf(hubKey)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func readReport(file []byte) (Report, error) {
	_, r, err := ReadReport(bytes.NewReader(file), hubID, hubKey, cluster, publicOf(agentKey))
	return r, err
}

func TestAReportArrivesAsItWas(t *testing.T) {
	file := writeReport(t)
	if bytes.Contains(file, []byte(canary)) {
		t.Error("what is sealed can be read")
	}
	got, err := readReport(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(toJSON(t, reportOf()), toJSON(t, got)); diff != "" {
		t.Error(diff)
	}
}

// TestWhatIsNotMeantForTheReaderIsRefusedByName.
// A report of megabytes may take a gigabyte when it is decoded, also one that its agent has signed.
func TestAReportWithTooManyValuesIsRefused(t *testing.T) {
	r := reportOf()
	r.Up.Dropped = make([]string, link.MaxValues)
	var out bytes.Buffer
	if err := WriteReport(&out, Label{Hub: hubID, Cluster: cluster, Made: made}, r, agentKey, publicOf(hubKey)); err != nil {
		t.Fatal(err)
	}
	if _, err := readReport(out.Bytes()); reasonOf(err) != v1alpha1.MediumUnsupportedReason {
		t.Errorf("%v", err)
	}
}

func TestWhatIsNotMeantForTheReaderIsRefusedByName(t *testing.T) {
	s := store{}
	u := updateOf(t, s, s.add(t, secret(t, "a", 10)))
	file := write(t, s, u)
	other := func(change func(*Edge)) error {
		e := edge
		change(&e)
		_, _, _, err := readAll(file, e)
		return err
	}
	signedBy := func(hub ed25519.PrivateKey, u Update) error {
		var out bytes.Buffer
		if err := WriteUpdate(&out, Label{Hub: hubID, Cluster: cluster, Made: made}, u, hub, publicOf(agentKey), s.get); err != nil {
			t.Fatal(err)
		}
		_, _, _, err := readAll(out.Bytes(), edge)
		return err
	}
	forged := u
	forged.Assignment.Signature = ed25519.Sign(keyOf(9), link.AssignmentTranscript(hubID, cluster, u.Assignment))
	_, reportAsUpdate := OpenUpdate(bytes.NewReader(writeReport(t)), edge)
	_, updateAsReport := readReport(file)
	_, _, otherAgent := ReadReport(bytes.NewReader(writeReport(t)), hubID, hubKey, cluster, publicOf(keyOf(9)))
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"another hub":               {other(func(e *Edge) { e.Hub = "hub-2" }), v1alpha1.MediumForAnotherHubReason},
		"another cluster":           {other(func(e *Edge) { e.Cluster = "fleet/ship-2" }), v1alpha1.MediumForAnotherClusterReason},
		"a key that was rotated":    {other(func(e *Edge) { e.Key = keyOf(3) }), v1alpha1.MediumForAnotherKeyReason},
		"another hub's signature":   {signedBy(keyOf(9), u), v1alpha1.MediumNotSignedReason},
		"an Assignment of another":  {signedBy(hubKey, forged), v1alpha1.MediumNotSignedReason},
		"a report of another agent": {otherAgent, v1alpha1.MediumNotSignedReason},
		"a report to an agent":      {reportAsUpdate, v1alpha1.MediumUnsupportedReason},
		"an update to a hub":        {updateAsReport, v1alpha1.MediumUnsupportedReason},
		"a format of a later version": {func() error {
			_, _, _, err := readAll(bytes.Replace(file, []byte("medium 1"), []byte("medium 2"), 1), edge)
			return err
		}(), v1alpha1.MediumUnsupportedReason},
		"something else": {func() error { _, _, _, err := readAll([]byte("apiVersion: v1\n"), edge); return err }(), v1alpha1.MediumUnsupportedReason},
		"nothing":        {func() error { _, _, _, err := readAll(nil, edge); return err }(), v1alpha1.MediumUnsupportedReason},
	} {
		t.Run(name, func(t *testing.T) {
			if got := reasonOf(tt.err); got != tt.want {
				t.Errorf("%s, not %s", got, tt.want)
			}
		})
	}
}

// TestEveryChangedByteAndEveryCutIsRefused: one bit of each byte, and each length.
func TestEveryChangedByteAndEveryCutIsRefused(t *testing.T) {
	s := store{}
	update := write(t, s, updateOf(t, s, s.add(t, secret(t, "a", 10))))
	kinds := map[string]struct {
		file []byte
		read func([]byte) error
	}{
		"update": {update, func(f []byte) error { _, _, _, err := readAll(f, edge); return err }},
		"report": {writeReport(t), func(f []byte) error { _, err := readReport(f); return err }},
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			if err := kind.read(kind.file); err != nil {
				t.Fatal(err)
			}
			random := rand.New(rand.NewPCG(1, 2))
			for i := range kind.file {
				changed := bytes.Clone(kind.file)
				changed[i] ^= 1 << random.IntN(8)
				if _, ok := errors.AsType[*RefusedError](kind.read(changed)); !ok {
					t.Errorf("byte %d of %d was changed: %v", i, len(kind.file), kind.read(changed))
				}
				if _, ok := errors.AsType[*RefusedError](kind.read(kind.file[:i])); !ok {
					t.Errorf("cut off after %d of %d: %v", i, len(kind.file), kind.read(kind.file[:i]))
				}
			}
			if got := reasonOf(kind.read(append(bytes.Clone(kind.file), 'x'))); got != v1alpha1.MediumDamagedReason {
				t.Errorf("more than there should be: %s", got)
			}
		})
	}
}

// TestRecordsCannotBeMovedOrLeftOut.
func TestRecordsCannotBeMovedOrLeftOut(t *testing.T) {
	s := store{}
	file := write(t, s, updateOf(t, s, s.add(t, secret(t, "a", 10)), s.add(t, secret(t, "b", 10))))
	head, records := recordsOf(t, file)
	if len(records) != 4 { // the message, two bundles, the end
		t.Fatalf("%d records", len(records))
	}
	for name, order := range map[string][]int{"swapped": {0, 2, 1, 3}, "left out": {0, 1, 3}, "without its end": {0, 1, 2}, "doubled": {0, 1, 1, 2, 3}, "ended early": {0, 3}} {
		t.Run(name, func(t *testing.T) {
			changed := bytes.Clone(head)
			for _, i := range order {
				changed = append(changed, records[i]...)
			}
			if _, _, _, err := readAll(changed, edge); reasonOf(err) != v1alpha1.MediumDamagedReason {
				t.Error(reasonOf(err))
			}
		})
	}
}

func recordsOf(t *testing.T, file []byte) (head []byte, records [][]byte) {
	t.Helper()
	at := bytes.IndexByte(file, '\n') + 1 + keySize
	for rest := file[at:]; len(rest) > 0; {
		n := int(binary.BigEndian.Uint32(rest)&^last) + headerSize
		records, rest = append(records, rest[:n]), rest[n:]
	}
	return file[:at], records
}

// TestBothHalvesOfAKeyLeadToTheSamePoint: what is sealed for a public key is opened by its private one.
func TestBothHalvesOfAKeyLeadToTheSamePoint(t *testing.T) {
	for n := range byte(50) {
		key := keyOf(n)
		public, err := recipientOf(publicOf(key))
		if err != nil {
			t.Fatal(err)
		}
		private, err := openerOf(key)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(public.Bytes(), private.PublicKey().Bytes()) {
			t.Fatalf("key %d: %x and %x", n, public.Bytes(), private.PublicKey().Bytes())
		}
	}
	for name, key := range map[string][]byte{"none": nil, "short": make([]byte, 31), "the neutral point": append([]byte{1}, make([]byte, 31)...)} {
		if _, err := recipientOf(key); err == nil {
			t.Errorf("%s is taken for a key", name)
		}
	}
}

func FuzzReadLabel(f *testing.F) {
	f.Add([]byte(format + `{"kind":"update","hub":"h","cluster":"a/b","key":"k"}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, line, err := ReadLabel(bufio.NewReader(bytes.NewReader(data)))
		if err == nil && (l.Hub == "" || len(line) > maxLabel) {
			t.Errorf("%+v of %d bytes", l, len(line))
		}
	})
}
