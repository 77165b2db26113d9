package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

// TestAFolderIsReadWhenItMayHaveChanged: twice for each of its times, and now and then where it seems unchanged.
func TestAFolderIsReadWhenItMayHaveChanged(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	var r readings
	look := func(modified time.Time, want bool) {
		t.Helper()
		if got := r.due(modified); got != want {
			t.Fatalf("at look %d it is due: %v", r.looks, got)
		}
	}
	for _, modified := range []time.Time{at, at.Add(time.Millisecond), at.Add(-time.Hour)} { // the clock was set back
		look(modified, true)
		look(modified, true) // something may have come in the same tick as the first reading
		for range readAnyway - 3 {
			look(modified, false)
		}
		look(modified, true) // the file system may keep no times
		look(modified, false)
	}
	r = readings{}
	look(at.Add(-time.Hour), true) // the folder was gone, and is back
}

// TestARequestThatCannotBeRemovedIsAnsweredAgain at the next look, and one that is answered is not.
func TestARequestThatCannotBeRemovedIsAnsweredAgain(t *testing.T) {
	k, err := newKube(newSite(t).config)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{agent: &agent{log: logr.Discard(), now: time.Now}, identities: identities{k, "n"}}
	dir := t.TempDir()
	request := filepath.Join(dir, "x"+askSuffix)
	if err := os.MkdirAll(filepath.Join(request, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if p.answerCommands(t.Context(), dir) {
		t.Error("a request that is still there is taken for answered")
	}
	if err := os.RemoveAll(request); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(request, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !p.answerCommands(t.Context(), dir) {
		t.Error("an answered request is taken for one that is left")
	}
	if _, err := os.Stat(filepath.Join(dir, "x"+resultSuffix)); err != nil {
		t.Error(err)
	}
}
