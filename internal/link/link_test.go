package link

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/linkv1"
)

func TestFrame(t *testing.T) {
	for name, payload := range map[string][]byte{
		"empty":         {},
		"short":         []byte(`{"seq":1}`),
		"compressible":  bytes.Repeat([]byte("a"), 100_000),
		"at the limit":  bytes.Repeat([]byte("a"), MaxMessage),
		"incompressive": random(t, 10_000),
	} {
		t.Run(name, func(t *testing.T) {
			frame, err := AppendFrame([]byte("before"), payload)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ReadFrame(bytes.NewReader(frame[len("before"):]), MaxMessage)
			if err != nil || !bytes.Equal(got, payload) {
				t.Errorf("%d bytes, %v; want %d", len(got), err, len(payload))
			}
		})
	}
	if _, err := AppendFrame(nil, make([]byte, MaxMessage+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a payload beyond the limit: %v", err)
	}
}

func TestReadFrameRefuses(t *testing.T) {
	bomb, err := AppendFrame(nil, bytes.Repeat([]byte{0}, MaxMessage))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		wire []byte
		want error
	}{
		"nothing":                    {nil, io.EOF},
		"half a header":              {[]byte{0, 0}, io.ErrUnexpectedEOF},
		"half a payload":             {[]byte{0, 0, 0, 5, 'a'}, io.ErrUnexpectedEOF},
		"a header and no payload":    {[]byte{0, 0, 0, 5}, io.ErrUnexpectedEOF},
		"a length beyond the limit":  {binary.BigEndian.AppendUint32(nil, MaxProof+1), ErrTooLarge},
		"the greatest length":        {[]byte{0xff, 0xff, 0xff, 0xff}, ErrTooLarge},
		"more after decompression":   {bomb, ErrTooLarge},
		"what cannot be inflated":    {[]byte{0x80, 0, 0, 2, 0xff, 0xff}, nil},
		"a deflated frame of length": {[]byte{0x80, 0, 0, 0}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadFrame(bytes.NewReader(test.wire), MaxProof)
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// TestHeaderAloneCostsNoMemory: a length is a claim of the peer until its bytes have arrived.
func TestHeaderAloneCostsNoMemory(t *testing.T) {
	wire := append(binary.BigEndian.AppendUint32(nil, MaxMessage), 'a')
	if per := testing.AllocsPerRun(10, func() { _, _ = ReadFrame(bytes.NewReader(wire), MaxMessage) }); per > 20 {
		t.Errorf("%v allocations", per)
	}
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_, _ = ReadFrame(bytes.NewReader(wire), MaxMessage)
		}
	})
	if got := result.AllocedBytesPerOp(); got > 64<<10 {
		t.Errorf("%d bytes for a frame of which one byte came", got)
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	frame, err := AppendFrame(nil, []byte(`{"seq":7,"later":{"a":1},"bye":{"reason":"Stopping","retryAfter":3,"x":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	var got Down
	if err := ReadMessage(bytes.NewReader(frame), MaxMessage, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Down{Seq: 7, GoAway: &GoAway{Reason: GoAwayStopping, RetryAfter: 3}}, got); diff != "" {
		t.Error(diff)
	}
}

// TestAMessageOfManyValuesIsNotDecoded: a few megabytes of JSON would become a gigabyte.
func TestAMessageOfManyValuesIsNotDecoded(t *testing.T) {
	read := func(payload string) error {
		frame, err := AppendFrame(nil, []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		var up Up
		return ReadMessage(bytes.NewReader(frame), MaxMessage, &up)
	}
	for name, payload := range map[string]string{
		"objects":                   `{"entries":[{}` + strings.Repeat(`,{}`, MaxValues) + `]}`,
		"names":                     `{"verified":{"a":1` + strings.Repeat(`,"a":1`, MaxValues) + `}}`,
		"lists":                     `{"later":` + strings.Repeat(`[`, MaxValues+1),
		"after a quote in a string": `{"later":"\"","entries":[{}` + strings.Repeat(`,{}`, MaxValues) + `]}`,
		"after a backslash":         `{"later":"\\","entries":[{}` + strings.Repeat(`,{}`, MaxValues) + `]}`,
	} {
		if err := read(payload); !errors.Is(err, ErrTooManyValues) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, payload := range map[string]string{
		"a few":       `{"entries":[{}` + strings.Repeat(`,{}`, 10_000) + `]}`,
		"in a string": `{"later":"` + strings.Repeat(`,{[`, MaxValues) + `"}`,
	} {
		if err := read(payload); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func entry(name, digest string) v1alpha1.AssignmentEntry {
	return v1alpha1.AssignmentEntry{Name: name, Revision: "main@sha1:" + digest, Digest: "sha256:" + digest, Interval: metav1.Duration{Duration: time.Minute}}
}

func entries(t *testing.T, list ...v1alpha1.AssignmentEntry) []Entry {
	t.Helper()
	out, err := NewEntries(list)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDiffSendsWhatDiffers(t *testing.T) {
	before := entries(t, entry("b", "1"), entry("a", "1"), entry("c", "1"))
	after := entries(t, entry("d", "1"), entry("c", "2"), entry("a", "1"))
	got := Diff(HaveEntries(before), after)
	var names []string
	for _, e := range got.Entries {
		names = append(names, e.Name)
	}
	if diff := cmp.Diff([]string{"c", "d"}, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"b"}, got.Dropped); diff != "" {
		t.Error(diff)
	}
	applied, err := got.Apply(before)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(HaveEntries(after), HaveEntries(applied)); diff != "" {
		t.Error(diff)
	}
	if same := Diff(HaveEntries(after), after); len(same.Entries)+len(same.Dropped) > 0 {
		t.Errorf("what is there is sent again: %v", same)
	}
}

func TestApplyNoticesDivergence(t *testing.T) {
	change := Diff(HaveEntries(entries(t, entry("a", "1"))), entries(t, entry("a", "1"), entry("b", "1")))
	for name, before := range map[string][]Entry{
		"nothing":       nil,
		"another entry": entries(t, entry("a", "1"), entry("x", "1")),
		"another value": entries(t, entry("a", "2")),
	} {
		if _, err := change.Apply(before); !errors.Is(err, ErrDiverged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFieldsOfALaterVersionKeepTheDigest: an agent that does not know a field stores, compares and applies the entry
// as the hub encoded it.
func TestFieldsOfALaterVersionKeepTheDigest(t *testing.T) {
	var sent []Entry
	if err := json.Unmarshal([]byte(`[{"name":"a","digest":"sha256:1","interval":"1m0s","timeout":"1m0s","later":{"x":"<1>"}}]`), &sent); err != nil {
		t.Fatal(err)
	}
	wire, err := EncodeFrame(Down{Seq: 1, Assignment: &Assignment{Entries: sent, Digest: Digest(sent)}})
	if err != nil {
		t.Fatal(err)
	}
	var got Down
	if err := ReadMessage(bytes.NewReader(wire), MaxMessage, &got); err != nil {
		t.Fatal(err)
	}
	disk, err := json.Marshal(got.Assignment.Entries)
	if err != nil {
		t.Fatal(err)
	}
	var restored []Entry
	if err := json.Unmarshal(disk, &restored); err != nil {
		t.Fatal(err)
	}
	var sentAgain []Entry
	if disk, err = json.Marshal(sent); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(disk, &sentAgain); err != nil {
		t.Fatal(err)
	}
	if Digest(restored) != Digest(sentAgain) {
		t.Error("the digest changed on the way")
	}
	decoded, err := DecodeEntries(restored)
	if err != nil || len(decoded) != 1 || decoded[0].Digest != "sha256:1" {
		t.Errorf("%v, %v", decoded, err)
	}
}

func status(name, ready string, at int64) v1alpha1.AssignmentEntryStatus {
	verified := metav1.Unix(at, 0)
	return v1alpha1.AssignmentEntryStatus{Name: name, Ready: metav1.ConditionStatus(ready), Reason: "Succeeded", VerifiedAt: &verified}
}

func TestReportHoldsWhatDiffers(t *testing.T) {
	before := []v1alpha1.AssignmentEntryStatus{status("a", "True", 1), status("b", "True", 1), status("gone", "True", 1)}
	now := []v1alpha1.AssignmentEntryStatus{status("a", "True", 2), status("b", "False", 2), status("new", "True", 2)}
	has, err := HaveStatuses(before)
	if err != nil {
		t.Fatal(err)
	}
	var u Up
	if err := u.DiffStatuses(has, map[string]int64{"a": 1, "b": 1}, now); err != nil {
		t.Fatal(err)
	}
	want := Up{Entries: now[1:], Dropped: []string{"gone"}, Verified: map[string]int64{"a": 2}}
	if diff := cmp.Diff(want, u); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(now, u.ApplyStatuses(before)); diff != "" {
		t.Error(diff)
	}
}

// TestASignatureServesOnePurpose changes each part of what is signed by itself.
func TestASignatureServesOnePurpose(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	session := SessionRequest{Cluster: "fleet/a", Key: public, Nonce: []byte("n"), AgentNonce: []byte("m"), Agent: Agent{Instance: "i", ClusterUID: "u"}}
	join := JoinRequest{Cluster: "fleet/a", Token: "t", Key: public, ClusterUID: "u", Nonce: []byte("n"), AgentNonce: []byte("m")}
	hub := HubIdentity{ID: "h", UID: "u", Namespace: "s", Key: public}
	assignment := Assignment{UID: "u", Generation: 1, Digest: "d"}
	manifest := Manifest{Digest: "d", Content: "c"}
	all := map[string][]byte{
		"session": SessionTranscript("h", session), "join": JoinTranscript("h", join),
		"hub": HubTranscript(hub, "fleet/a", "t", []byte("n"), []byte("m")), "assignment": AssignmentTranscript("h", "fleet/a", assignment),
		"bundle":                BundleTranscript("h", "fleet/a", manifest),
		"session, another hub":  SessionTranscript("g", session),
		"join, another hub":     JoinTranscript("g", join),
		"fields that run over":  transcript(sessionPurpose, []byte("hf"), []byte("leet/a")),
		"assignment of another": AssignmentTranscript("h", "fleet/b", assignment),
		"bundle of another":     BundleTranscript("h", "fleet/b", manifest),
	}
	vary := session
	vary.Nonce = []byte("x")
	all["session, nonce"] = SessionTranscript("h", vary)
	vary = session
	vary.Agent.ClusterUID = "x"
	all["session, uid"] = SessionTranscript("h", vary)
	vary = session
	vary.Cluster = "fleet/b"
	all["session, cluster"] = SessionTranscript("h", vary)
	other := join
	other.Token = "x"
	all["join, token"] = JoinTranscript("h", other)
	later := assignment
	later.Generation = 2
	all["assignment, generation"] = AssignmentTranscript("h", "fleet/a", later)
	sealed := manifest
	sealed.Confidential = true
	all["bundle, confidential"] = BundleTranscript("h", "fleet/a", sealed)
	all["finalize"] = FinalizeTranscript("h", "fleet/a", public, "r")
	all["finalize, another request"] = FinalizeTranscript("h", "fleet/a", public, "s")
	all["finalize, another cluster"] = FinalizeTranscript("h", "fleet/b", public, "r")
	all["finalize, another hub"] = FinalizeTranscript("g", "fleet/a", public, "r")
	all["finalize, another agent"] = FinalizeTranscript("h", "fleet/a", public[1:], "r")
	ask := ShardRequest{Digest: "d", Nonce: []byte("n"), ShardNonce: []byte("m")}
	all["part"], all["part, another hub"] = ShardTranscript("h", ask), ShardTranscript("g", ask)
	all["part answer"] = ShardResponseTranscript("h", ask, ShardResponse{Size: 1})
	all["part answer, confidential"] = ShardResponseTranscript("h", ask, ShardResponse{Size: 1, Confidential: true})
	down := Down{Seq: 1, At: 2, Assignment: &assignment, Settings: &Settings{KeepAlive: 1}, Finalize: "r", GoAway: &GoAway{Reason: "b", RetryAfter: 1}}
	all["down"] = DownTranscript("h", "fleet/a", public, []byte("m"), down)
	all["down, another hub"] = DownTranscript("g", "fleet/a", public, []byte("m"), down)
	all["down, another cluster"] = DownTranscript("h", "fleet/b", public, []byte("m"), down)
	all["down, another agent"] = DownTranscript("h", "fleet/a", public[1:], []byte("m"), down)
	all["down, another session"] = DownTranscript("h", "fleet/a", public, []byte("n"), down)
	for name, change := range map[string]func(*Down){
		"another place": func(d *Down) { d.Seq++ }, "another time": func(d *Down) { d.At++ },
		"another Assignment": func(d *Down) { d.Assignment = &later }, "no Assignment": func(d *Down) { d.Assignment = nil },
		"suspended": func(d *Down) { d.Settings = &Settings{KeepAlive: 1, Suspend: true} }, "to take over": func(d *Down) { d.Settings = &Settings{KeepAlive: 1, TakeOver: "x"} },
		"another heartbeat": func(d *Down) { d.Settings = &Settings{KeepAlive: 1, Heartbeat: 1} }, "another keepalive": func(d *Down) { d.Settings = &Settings{} },
		"no settings": func(d *Down) { d.Settings = nil }, "to verify": func(d *Down) { d.Verify = true }, "another request": func(d *Down) { d.Finalize = "s" },
		"another end": func(d *Down) { d.GoAway = &GoAway{Reason: "c", RetryAfter: 1} }, "another pause": func(d *Down) { d.GoAway = &GoAway{Reason: "b"} }, "no end": func(d *Down) { d.GoAway = nil },
	} {
		changed := down
		change(&changed)
		all["down, "+name] = DownTranscript("h", "fleet/a", public, []byte("m"), changed)
	}
	for of, transcript := range all {
		signature := ed25519.Sign(private, transcript)
		for to, other := range all {
			if got := Verify(public, other, signature); got != (of == to) {
				t.Errorf("a signature of %q serves for %q: %t", of, to, got)
			}
		}
	}
	if Verify(nil, nil, nil) || Verify(public, nil, nil) || Verify(public[:5], all["join"], ed25519.Sign(private, all["join"])) {
		t.Error("a key or signature of another length is accepted")
	}
}

func bundle(t *testing.T, n int, change map[int]string) *object.Bundle {
	t.Helper()
	var objects []object.Object
	for i := range n {
		value := fmt.Sprintf("value-%d", i)
		if other, ok := change[i]; ok {
			value = other
		}
		o, err := object.FromMap(map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": fmt.Sprintf("c-%04d", i), "namespace": "default"},
			"data": map[string]any{"key": value},
		})
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	b, err := object.NewBundle(objects)
	if err != nil {
		t.Fatal(err)
	}
	return &b
}

func bodies(b *object.Bundle) map[ObjectID][]byte {
	out := map[ObjectID][]byte{}
	for _, o := range b.Objects {
		out[IDOf(o.Body)] = o.Body
	}
	return out
}

func TestOneChangedObjectOf500CostsLessThan5KiB(t *testing.T) {
	old, now := bundle(t, 500, nil), bundle(t, 500, map[int]string{250: "changed"})
	there := bodies(old)
	m := NewManifest(now.Digest(), now)
	m.Signature = random(t, ed25519.SignatureSize)
	frame, err := EncodeFrame(m)
	if err != nil {
		t.Fatal(err)
	}
	missing := m.Missing(func(id ObjectID) bool { return there[id] != nil })
	if len(missing) != 1 {
		t.Fatalf("%d objects are missing", len(missing))
	}
	ask, err := EncodeFrame(Wanted{Bundle: m.Digest, Objects: missing})
	if err != nil {
		t.Fatal(err)
	}
	body := bodies(now)[missing[0]]
	chunk, err := AppendFrame(nil, AppendChunk(nil, Chunk{ID: missing[0], Size: int64(len(body)), Data: body}))
	if err != nil {
		t.Fatal(err)
	}
	const headers = 400 // of two requests and answers, TLS and TCP included
	if total := len(frame) + len(ask) + len(chunk) - len(body) + headers; total > 5<<10 {
		t.Errorf("%d bytes, of which the manifest %d", total, len(frame))
	}
	var got Manifest
	if err := ReadMessage(bytes.NewReader(frame), MaxMessage, &got); err != nil {
		t.Fatal(err)
	}
	there[missing[0]] = body
	assembled, err := got.Assemble(func(id ObjectID) ([]byte, bool) { b, ok := there[id]; return b, ok })
	if err != nil || assembled.Digest() != now.Digest() {
		t.Errorf("%v", err)
	}
}

// TestABundleWithSomethingToHideTravelsWhole: what messages show in place of texts of Secrets is a part of its content.
func TestABundleWithSomethingToHideTravelsWhole(t *testing.T) {
	b := bundle(t, 3, nil)
	b.Confidential, b.Hidden = true, map[string]string{"word": "***"}
	m := NewManifest("sha256:keyed", b)
	there := map[ObjectID][]byte{}
	for _, line := range b.Lines() {
		there[IDOf(line)] = line
	}
	got, err := m.Assemble(func(id ObjectID) ([]byte, bool) { body, ok := there[id]; return body, ok })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.Hidden, got.Hidden); diff != "" || got.Digest() != b.Digest() || !got.Confidential {
		t.Errorf("%s %s", diff, got.Digest())
	}
}

func TestAssembleRefusesOtherContent(t *testing.T) {
	b := bundle(t, 3, nil)
	good := NewManifest(b.Digest(), b)
	for name, test := range map[string]struct {
		change func(*Manifest, map[ObjectID][]byte)
		want   string
	}{
		"an object is missing":   {func(m *Manifest, there map[ObjectID][]byte) { delete(there, m.Objects[1]) }, "is missing"},
		"an object is another":   {func(m *Manifest, there map[ObjectID][]byte) { there[m.Objects[1]] = there[m.Objects[0]] }, "has digest"},
		"another order":          {func(m *Manifest, _ map[ObjectID][]byte) { m.Objects[0], m.Objects[1] = m.Objects[1], m.Objects[0] }, "has digest"},
		"one less":               {func(m *Manifest, _ map[ObjectID][]byte) { m.Objects = m.Objects[:2] }, "has digest"},
		"one twice":              {func(m *Manifest, _ map[ObjectID][]byte) { m.Objects = append(m.Objects, m.Objects[0]) }, "larger"},
		"for another content":    {func(m *Manifest, _ map[ObjectID][]byte) { m.Content = "sha256:00" }, "another content"},
		"sealed, another digest": {func(m *Manifest, _ map[ObjectID][]byte) { m.Confidential, m.Content = true, "sha256:00" }, "has digest"},
	} {
		t.Run(name, func(t *testing.T) {
			m, there := good, bodies(b)
			m.Objects = append(ObjectIDs(nil), good.Objects...)
			test.change(&m, there)
			_, err := m.Assemble(func(id ObjectID) ([]byte, bool) { b, ok := there[id]; return b, ok })
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestParseChunksRefuses(t *testing.T) {
	id := ObjectID{1}
	good := AppendChunk(nil, Chunk{ID: id, Size: 5, Offset: 2, Data: []byte("abc")})
	for name, payload := range map[string][]byte{
		"half an id":           id[:3],
		"no size":              id[:],
		"no offset":            append(id[:], 1),
		"no length":            append(id[:], 1, 0),
		"cut off":              good[:len(good)-1],
		"the second cut off":   append(append([]byte{}, good...), good[:len(good)-1]...),
		"more than the size":   AppendChunk(nil, Chunk{ID: id, Size: 1, Data: []byte("ab")}),
		"beyond the end":       AppendChunk(nil, Chunk{ID: id, Size: 1, Offset: 2}),
		"a size beyond any":    AppendChunk(nil, Chunk{ID: id, Size: MaxMessage + 1}),
		"a chunk beyond any":   AppendChunk(nil, Chunk{ID: id, Size: MaxMessage, Data: make([]byte, MaxChunk+1)}),
		"a length beyond int":  append(append([]byte{}, id[:]...), 5, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
		"an offset beyond int": append(append([]byte{}, id[:]...), 5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0),
	} {
		if c, err := ParseChunks(payload); err == nil {
			t.Errorf("%s: %v", name, c)
		}
	}
	want := []Chunk{{ID: id, Size: 5, Offset: 2, Data: []byte("abc")}, {ID: ObjectID{2}, Size: 1, Data: []byte("x")}}
	got, err := ParseChunks(AppendChunk(append([]byte{}, good...), want[1]))
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0x80, 0, 0, 2, 1, 2})
	f.Add(EmptyFrame())
	f.Fuzz(func(t *testing.T, wire []byte) {
		var d Down
		_ = ReadMessage(bytes.NewReader(wire), MaxProof, &d)
		if payload, err := ReadFrame(bytes.NewReader(wire), MaxProof); err == nil {
			_, _ = ParseChunks(payload)
		}
	})
}

// TestWhatIsSignedOfAFrameStays: agents in the field verify it for years, so that nothing of it is ever changed.
func TestWhatIsSignedOfAFrameStays(t *testing.T) {
	nested := func(fields ...[]byte) []byte {
		out := []byte{0} // an empty purpose
		for _, f := range fields {
			out = append(binary.AppendUvarint(out, uint64(len(f))), f...)
		}
		return out
	}
	key, nonce := random(t, 32), random(t, 32)
	whole := Down{
		Seq: 3, At: 1_700_000_000_000_000_001, Verify: true, Finalize: "f", Assignment: &Assignment{UID: "u", Generation: 7, Digest: "sha256:d"},
		Settings: &Settings{KeepAlive: 60, Heartbeat: 300, Suspend: true, TakeOver: "hub-2"}, GoAway: &GoAway{Reason: GoAwayPushed, RetryAfter: 5},
	}
	for name, test := range map[string]struct {
		down Down
		want []byte
	}{
		"with everything": {whole, linkv1.Transcript("down", []byte("h"), []byte("fleet/a"), key, nonce, linkv1.Generation(3), linkv1.Generation(1_700_000_000_000_000_001),
			nested([]byte("u"), linkv1.Generation(7), []byte("sha256:d")), nested(linkv1.Generation(60), linkv1.Generation(300), []byte{1}, []byte("hub-2")),
			[]byte{1}, []byte("f"), nested([]byte("Pushed"), linkv1.Generation(5)))},
		"with nothing": {Down{}, linkv1.Transcript("down", []byte("h"), []byte("fleet/a"), key, nonce, linkv1.Generation(0), linkv1.Generation(0), nil, nil, []byte{0}, nil, nil)},
	} {
		if got := DownTranscript("h", "fleet/a", key, nonce, test.down); !bytes.Equal(got, test.want) {
			t.Errorf("%s: %x, want %x", name, got, test.want)
		}
	}
}

// TestSmallMessagesAreCompressed, those that repeat names and those whose bits are all that can be saved.
func TestSmallMessagesAreCompressed(t *testing.T) {
	for name, payload := range map[string][]byte{
		"names":       []byte(strings.Repeat(`{"name":"default/apps","revision":"main@sha1:1234"},`, 10)),
		"random bits": []byte(base64.StdEncoding.EncodeToString(random(t, 300))),
	} {
		frame, err := AppendFrame(nil, payload)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ReadFrame(bytes.NewReader(frame), MaxMessage)
		if err != nil || !bytes.Equal(back, payload) {
			t.Errorf("%s: %q comes back (%v)", name, back, err)
		}
		if most := len(payload) * 9 / 10; len(frame) > most {
			t.Errorf("%s: %d bytes of %d, want at most %d", name, len(frame), len(payload), most)
		}
	}
}
