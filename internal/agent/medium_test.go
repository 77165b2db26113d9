package agent

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/medium"
	"github.com/skerry-dev/skerry/internal/object"
)

var exported = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestWhatIsOlderThanWhatTheAgentHas(t *testing.T) {
	at := func(d time.Duration) []v1alpha1.AssignmentEntry {
		when := metav1.NewTime(exported.Add(d))
		return []v1alpha1.AssignmentEntry{{Name: "old"}, {Name: "new", AssignedAt: &when}}
	}
	for name, tt := range map[string]struct {
		uid        string
		generation int64
		has        assignmentState
		assigned   []v1alpha1.AssignmentEntry
		old        bool
	}{
		"the agent has nothing": {"a", 1, assignmentState{}, nil, false},
		"a later generation":    {"a", 8, assignmentState{UID: "a", Generation: 7}, at(time.Hour), false},
		"the same generation":   {"a", 7, assignmentState{UID: "a", Generation: 7}, at(-time.Hour), false},
		"an earlier generation": {"a", 6, assignmentState{UID: "a", Generation: 7}, at(-time.Hour), true},
		"a later generation, made before the file that was taken":             {"a", 8, assignmentState{UID: "a", Generation: 7, Exported: exported.Add(time.Second)}, nil, true},
		"the file that was taken":                                             {"a", 7, assignmentState{UID: "a", Generation: 7, Exported: exported}, nil, false},
		"another Assignment, made after everything was assigned":              {"b", 1, assignmentState{UID: "a", Generation: 7}, at(-time.Second), false},
		"another Assignment, made before something was assigned":              {"b", 9, assignmentState{UID: "a", Generation: 7}, at(time.Second), true},
		"nothing but a file that was taken, and is younger":                   {"b", 9, assignmentState{Exported: exported.Add(time.Second)}, nil, true},
		"an earlier generation, made later: the hub was restored":             {"a", 6, assignmentState{UID: "a", Generation: 7, AsOf: exported.Add(-time.Second)}, at(time.Hour), false},
		"an earlier generation, made earlier":                                 {"a", 6, assignmentState{UID: "a", Generation: 7, AsOf: exported.Add(time.Second)}, nil, true},
		"a later generation, made earlier: of the hub before it was restored": {"a", 8, assignmentState{UID: "a", Generation: 7, AsOf: exported.Add(time.Second)}, nil, true},
		"another Assignment, made earlier":                                    {"b", 8, assignmentState{UID: "a", Generation: 7, AsOf: exported.Add(time.Second)}, nil, true},
		"the file that was taken, when the link has told of something since":  {"a", 7, assignmentState{UID: "a", Generation: 8, Exported: exported, AsOf: exported.Add(-time.Hour)}, nil, true},
		"what the agent has, told of later over a link":                       {"a", 7, assignmentState{UID: "a", Generation: 7, AsOf: exported.Add(time.Second)}, nil, false},
		"nothing is assigned, and that was told after the file was made":      {"a", 7, assignmentState{AsOf: exported.Add(time.Second)}, nil, true},
		"nothing is assigned, and that was told before the file was made":     {"a", 7, assignmentState{AsOf: exported.Add(-time.Second)}, nil, false},
		"nothing is assigned any more since the file was taken":               {"a", 7, assignmentState{Exported: exported}, nil, true},
		"another Assignment, and nothing is known of when it came":            {"b", 1, assignmentState{UID: "a", Generation: 7}, []v1alpha1.AssignmentEntry{{Name: "x"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := outdated(medium.Update{Assignment: link.Assignment{UID: tt.uid, Generation: tt.generation, Digest: link.Digest(nil)}}, exported, tt.has, tt.assigned)
			if (err != nil) != tt.old {
				t.Errorf("%v", err)
			}
			if refused, ok := errors.AsType[*medium.RefusedError](err); tt.old && (!ok || refused.Reason != v1alpha1.MediumOutdatedReason) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestSettingsOfAFileCountWhereTheyAreTheLatest: those of a file that is older than anything that the hub has said since,
// or was taken already, do not.
func TestSettingsOfAFileCountWhereTheyAreTheLatest(t *testing.T) {
	var earlier assignmentState // as the version before wrote it, that knew no times of settings
	if err := json.Unmarshal([]byte(`{"uid":"a","settings":{"suspend":true},"exported":"2026-01-02T03:04:05Z","asOf":"2026-01-02T03:04:05Z"}`), &earlier); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		has   assignmentState
		count bool
	}{
		"nothing is known of times":       {assignmentState{}, true},
		"later than all":                  {assignmentState{SettingsAt: exported.Add(-1), AsOf: exported.Add(-2), Exported: exported.Add(-3)}, true},
		"settings were told later":        {assignmentState{SettingsAt: exported.Add(1)}, false},
		"settings were told then":         {assignmentState{SettingsAt: exported}, false},
		"an Assignment was told later":    {assignmentState{SettingsAt: exported.Add(-1), AsOf: exported.Add(1)}, false},
		"the file was taken":              {assignmentState{Exported: exported}, false},
		"the version before has taken it": {earlier, false},
	} {
		tt.has.Settings = *suspended
		got := tt.has.withSettings(medium.Update{}, exported)
		if !got.Exported.Equal(exported) || got.Settings.Suspend == tt.count || tt.count && !got.SettingsAt.Equal(exported) || !tt.count && !got.SettingsAt.Equal(tt.has.SettingsAt) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// update makes a file of what is assigned, and of the settings.
func (h *hub) update(generation int64, at time.Time) []byte {
	h.t.Helper()
	a := h.change(link.Have{})
	a.Generation = generation
	a.Signature = ed25519.Sign(h.key, link.AssignmentTranscript(h.enroll.HubID, h.enroll.Cluster, *a))
	h.mu.Lock()
	defer h.mu.Unlock()
	u := medium.Update{Assignment: *a, Settings: h.settings}
	for _, e := range h.entries {
		u.Bundles = append(u.Bundles, link.NewManifest(e.Digest, h.bundles[e.Digest]))
	}
	var out bytes.Buffer
	if err := medium.WriteUpdate(&out, medium.Label{Hub: h.enroll.HubID, Cluster: h.enroll.Cluster, Made: at}, u, h.key, h.bound, func(digest string) (*object.Bundle, error) {
		return h.bundles[digest], nil
	}); err != nil {
		h.t.Fatal(err)
	}
	return out.Bytes()
}

// cutOff is an agent that has joined, has one bundle, and has lost its hub.
func cutOff(t *testing.T) (*hub, *site, string) {
	t.Helper()
	h := startHub(t, longAgo)
	first := h.bundle(configMap("a", "1"))
	h.assign(entryOf("apps", first))
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "apps is ready", h.reported("apps", "Ready"))
	e.stop()
	h.stop()
	e.start()
	go e.p.exchangeFiles(t.Context()) // ends with the test
	return h, e, first
}

// command runs the program's command against the agent of the site.
func (e *site) command(args ...string) (code int, stdout, stderr string) {
	e.t.Helper()
	var out, err bytes.Buffer
	code = Main(append(args, "--storage-path", e.dir), "v2", &out, &err)
	return code, out.String(), err.String()
}

// TestAnUpdateIsImportedWithoutALink, by the command, and survives a restart; and an older one, one of another
// cluster and a damaged one are refused with their reasons, and nothing changes.
func TestAnUpdateIsImportedWithoutALink(t *testing.T) {
	h, e, first := cutOff(t)
	stale := h.update(6, exported)
	second := h.bundle(configMap("a", "2"), configMap("b", "2"))
	h.assign(entryOf("apps", second), entryOf("more", first))
	good := h.update(8, exported.Add(time.Hour))
	damaged := bytes.Clone(good)
	damaged[len(damaged)-20] ^= 1
	h.enroll.Cluster = "fleet/edge-2"
	foreign := h.update(9, exported.Add(time.Hour))
	file := filepath.Join(t.TempDir(), "update.skerry")
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"older", stale, v1alpha1.MediumOutdatedReason},
		{"damaged", damaged, v1alpha1.MediumDamagedReason},
		{"cut off", good[:len(good)-1], v1alpha1.MediumDamagedReason},
		{"another cluster's", foreign, v1alpha1.MediumForAnotherClusterReason},
	} {
		if err := os.WriteFile(file, tt.file, 0o600); err != nil {
			t.Fatal(err)
		}
		before := e.p.disk.List("")
		code, _, stderr := e.command("import", file)
		if code != 1 || !strings.Contains(stderr, tt.want) || !strings.Contains(stderr, "nothing was changed") {
			t.Errorf("%s: code %d, %q", tt.name, code, stderr)
		}
		if got := e.pool().last(); len(got) != 1 || got[0].Digest != first {
			t.Errorf("%s: the engine was told %+v", tt.name, got)
		}
		if after := e.p.disk.List(bundlePrefix); len(after) != 1 {
			t.Errorf("%s: the disk has %v, and had %v", tt.name, after, before)
		}
	}
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := e.command("import", file); code != 0 || !strings.Contains(stdout, "generation 8") {
		t.Fatalf("code %d, %q %q", code, stdout, stderr)
	}
	told := func() bool { l := e.pool().last(); return len(l) == 2 && l[0].Digest == second && l[1].Digest == first }
	eventually(t, "the engine is told of it", told)
	if left, _ := os.ReadDir(filepath.Join(e.dir, exchangeName)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	e.stop()
	e.start()
	if !told() {
		t.Errorf("after a restart the engine was told %+v", e.pool().last())
	}
	seen := exported.Add(time.Hour)
	if at := e.p.latestSeen(); !at.Equal(seen) {
		t.Errorf("after a restart the latest that it has seen is of %s", at)
	}
	var out bytes.Buffer
	if err := e.p.writeReport(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	h.enroll.Cluster = "fleet/edge-1"
	if _, r, err := medium.ReadReport(&out, "hub-1", h.key, h.enroll.Cluster, h.bound); err != nil || r.Up.Latest != seen.UnixNano() {
		t.Errorf("the report tells of %d, %v", r.Up.Latest, err)
	}
}

// importFile has the agent import a file.
func (e *site) importFile(file []byte) commandResult {
	e.t.Helper()
	name := filepath.Join(e.t.TempDir(), "update.skerry")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		e.t.Fatal(err)
	}
	return e.p.importFile(e.t.Context(), name)
}

func (e *site) assignment() assignmentState {
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	return e.p.assignment
}

// TestAFileBringsNoSettingsBack that the hub has changed over the link since, also when it lies in its folder at each
// start; nor does it make what the agent has older.
func TestAFileBringsNoSettingsBack(t *testing.T) {
	h, e := signing(t)
	now := time.Now()
	first, between := h.update(7, now.Add(time.Hour)), h.update(7, now.Add(90*time.Minute))
	if got := e.importFile(first); !got.Accepted || strings.Contains(got.Message, "already") {
		t.Fatalf("%+v", got)
	}
	h.mu.Lock()
	h.at, h.settings = int64(2*time.Hour), *suspended
	h.mu.Unlock()
	h.down <- link.Down{Seq: 2, Settings: suspended, Assignment: h.change(e.p.have())}
	eventually(t, "suspended over the link", func() bool { m := e.assignment(); return m.Settings.Suspend && m.AsOf.After(now.Add(time.Hour)) })
	e.stop()
	h.stop()
	e.start()
	before := e.assignment()
	holds := func(when string) {
		t.Helper()
		m := e.assignment()
		p := e.pool()
		p.mu.Lock()
		defer p.mu.Unlock()
		if last := p.connected[len(p.connected)-1]; !m.Settings.Suspend || !last.Suspend || !m.AsOf.Equal(before.AsOf) || !m.SettingsAt.Equal(before.SettingsAt) {
			t.Errorf("%s: the engine is told to suspend: %t; settings %+v of %s, as of %s, which was %s", when, last.Suspend, m.Settings, m.SettingsAt, m.AsOf, before.AsOf)
		}
	}
	holds("after a restart")
	if got := e.importFile(first); !got.Accepted || !strings.Contains(got.Message, "already") {
		t.Errorf("the file that was taken: %+v", got)
	}
	holds("with the file that was taken")
	if got := e.importFile(between); !got.Accepted || !strings.Contains(got.Message, "settings") {
		t.Errorf("a file from before: %+v", got)
	}
	holds("with a file from before the hub has suspended it")
	h.mu.Lock()
	h.settings = link.Settings{}
	h.mu.Unlock()
	if got := e.importFile(h.update(7, now.Add(4*time.Hour))); !got.Accepted || strings.Contains(got.Message, "settings") {
		t.Errorf("a file from after: %+v", got)
	}
	m, p := e.assignment(), e.pool()
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.Settings.Suspend || p.connected[len(p.connected)-1].Suspend || !m.AsOf.Equal(now.Add(4*time.Hour)) {
		t.Errorf("a file from after: %+v", m)
	}
}

// TestTheFirstReportOfASessionTellsTheLatestTimeThatTheAgentHasSeen, and no other does.
func TestTheFirstReportOfASessionTellsTheLatestTimeThatTheAgentHasSeen(t *testing.T) {
	r := newReports(link.Have{})
	f := facts{latest: exported}
	first, _, err := r.next(f)
	if err != nil || first.Latest != exported.UnixNano() {
		t.Fatalf("%d, %v", first.Latest, err)
	}
	if err := r.acknowledged(first, f); err != nil {
		t.Fatal(err)
	}
	if second, _, err := r.next(f); err != nil || second.Latest != 0 {
		t.Errorf("%d, %v", second.Latest, err)
	}
}

// TestAReportIsWrittenForTheHub: everything that a link would have told, each with a higher number.
func TestAReportIsWrittenForTheHub(t *testing.T) {
	h, e, _ := cutOff(t)
	out := filepath.Join(t.TempDir(), "report.skerry")
	var last uint64
	for range 2 {
		if code, _, stderr := e.command("report", "-o", out); code != 0 {
			t.Fatalf("code %d, %q", code, stderr)
		}
		f, err := os.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, r, err := medium.ReadReport(f, "hub-1", h.key, "fleet/edge-1", h.bound)
		if err != nil {
			t.Fatal(err)
		}
		if r.Number <= last || r.ClusterUID != "edge-uid" || len(r.Up.Entries) != 1 || r.Up.Entries[0].Reason != "Ready" || !r.Up.Complete {
			t.Errorf("report %+v after number %d", r, last)
		}
		last = r.Number
	}
	e.stop()
	e.start()
	if got := e.p.journal.lastMediumReport(); got != last {
		t.Errorf("after a restart the number is %d, not %d", got, last)
	}
}

// TestAMediumIsTakenFromItsFolder, once, and gets a report beside the update.
func TestAMediumIsTakenFromItsFolder(t *testing.T) {
	h, e, _ := cutOff(t)
	f := folder{path: t.TempDir(), seen: map[string]seenFile{}}
	second := h.bundle(configMap("a", "2"))
	h.assign(entryOf("apps", second))
	if err := os.WriteFile(filepath.Join(f.path, "x.skerry"), h.update(8, exported), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		e.p.importFromFolder(t.Context(), &f)
	}
	if l := e.pool().last(); len(l) != 1 || l[0].Digest != second {
		t.Errorf("the engine was told %+v", l)
	}
	imports := 0
	for _, event := range e.p.journal.oldest(maxJournal) {
		if event.Reason == v1alpha1.MediumImportedReason {
			imports++
		}
	}
	if imports != 1 {
		t.Errorf("imported %d times", imports)
	}
	report, err := os.ReadFile(filepath.Join(f.path, "edge-1-report.skerry"))
	if err != nil {
		t.Fatal(err)
	}
	if _, r, err := medium.ReadReport(bytes.NewReader(report), "hub-1", h.key, "fleet/edge-1", h.bound); err != nil || len(r.Up.Entries) != 1 || r.Up.Entries[0].AppliedDigest != second {
		t.Errorf("report %+v, %v", r, err)
	}
}
