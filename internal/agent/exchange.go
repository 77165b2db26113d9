package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/medium"
)

// exchangeName is the folder below StoragePath through which commands ("skerry-agent import") and the agent that runs
// hand files to one another. A command writes NAME.update or NAME.ask, and the agent NAME.result, or NAME.report and
// NAME.result. Each file appears whole.
const exchangeName = "exchange"

// Suffixes of the files there.
const (
	updateSuffix = ".update"
	askSuffix    = ".ask"
	reportSuffix = ".report"
	resultSuffix = ".result"
)

// folderInterval is how often the agent looks for files: a user who runs a command waits for half of it as a rule. A look is
// one system call where there is no request.
const folderInterval = 2 * time.Second

// commandResult is the answer to a request of a command.
type commandResult struct {
	Accepted bool `json:"accepted"`
	// Reason of a refusal, one of those of api/v1alpha1; empty where something else went wrong.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
}

// exchangeFiles answers commands, and imports what lies in the folder for media, until ctx is done.
func (p *process) exchangeFiles(ctx context.Context) {
	dir := filepath.Join(p.o.StoragePath, exchangeName)
	p.removeStaleResults(dir)
	var requests readings
	f := folder{path: p.o.ImportPath, seen: map[string]seenFile{}}
	timer := time.NewTimer(p.delays.folders)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if info, err := os.Stat(dir); err != nil { // mostly there is none
			requests = readings{}
		} else if requests.due(info.ModTime()) && !p.answerCommands(ctx, dir) {
			requests = readings{}
		}
		if f.path != "" {
			p.importFromFolder(ctx, &f)
		}
		timer.Reset(p.delays.folders)
	}
}

// readAnyway is how many looks a folder that seems unchanged is left unread: some file systems keep no times of folders,
// and a command waits for a minute.
const readAnyway = 15

// readings decides from the time at which a folder was changed last when it has to be read.
//
// Such times are coarse, two seconds on FAT: a file that comes in the same tick as the last reading does not change it.
// So a folder is read twice for each time, and the readings are one interval apart.
type readings struct {
	modified time.Time
	looks    int // at a folder with that time
}

// due is asked at each look, and reports whether the folder has to be read.
func (r *readings) due(modified time.Time) bool {
	if !modified.Equal(r.modified) {
		*r = readings{modified: modified}
	}
	r.looks++
	return r.looks <= 2 || r.looks%readAnyway == 0
}

// removeStaleResults removes the answers to commands that were killed before they read them. What they ask for is still done.
func (p *process) removeStaleResults(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || strings.HasSuffix(e.Name(), updateSuffix) || strings.HasSuffix(e.Name(), askSuffix) {
			continue
		}
		if p.now().Sub(info.ModTime()) > time.Hour { // a command that waits has not had its answer for so long
			_ = os.Remove(filepath.Join(dir, e.Name())) // else it takes some room
		}
	}
}

// answerCommands does what commands ask for. It returns false when that has to be tried again at the next look.
func (p *process) answerCommands(ctx context.Context, dir string) (done bool) {
	entries, err := os.ReadDir(dir)
	done = err == nil
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		var v commandResult
		name, isUpdate := strings.CutSuffix(e.Name(), updateSuffix)
		if isUpdate {
			v = p.importFile(ctx, file)
		} else if asked, ok := strings.CutSuffix(e.Name(), askSuffix); ok {
			name, v = asked, p.reportInto(ctx, filepath.Join(dir, asked+reportSuffix))
		} else {
			continue
		}
		raw, err := json.Marshal(v)
		if err == nil {
			err = writeWhole(filepath.Join(dir, name+resultSuffix), func(to io.Writer) error { _, err := to.Write(raw); return err })
		}
		if err = errors.Join(err, os.Remove(file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.log.Info("cannot answer a command", "error", err.Error())
			done = false
		}
	}
	return done
}

func (p *process) reportInto(ctx context.Context, file string) commandResult {
	err := writeWhole(file, func(to io.Writer) error { return p.writeReport(ctx, to) })
	if refusal, ok := errors.AsType[*medium.RefusedError](err); ok {
		return commandResult{Reason: refusal.Reason, Message: refusal.Message}
	}
	if err != nil {
		return commandResult{Message: err.Error()}
	}
	return commandResult{Accepted: true}
}

// folder is where media are mounted.
type folder struct {
	path string
	seen map[string]seenFile
	// imported is when an update was taken of which no report was written yet.
	imported time.Time
}

// seenFile is a file of a folder as it was last time.
type seenFile struct {
	size    int64
	at      time.Time
	handled bool
}

// importSettleTimeout is how long a report waits until what was imported has come about, or failed.
const importSettleTimeout = 5 * time.Minute

// importFromFolder imports what has come into a folder since last time, and writes a report beside it when all of that has come
// about: the medium then goes back to the hub.
func (p *process) importFromFolder(ctx context.Context, f *folder) {
	if p.importFolder(ctx, f) {
		f.imported = p.now()
	}
	if f.imported.IsZero() || !p.settled() && p.now().Sub(f.imported) < importSettleTimeout {
		return
	}
	f.imported = time.Time{}
	p.mu.Lock()
	name := p.key.Name + "-report" + medium.Extension
	p.mu.Unlock()
	if v := p.reportInto(ctx, filepath.Join(f.path, name)); !v.Accepted { // a medium may be read-only
		p.log.Info("cannot write a report beside the update", "message", v.Message)
	}
}

// settled reports whether every entry is applied and ready, or failed.
func (p *process) settled() bool {
	_, entries, reported := p.reported()
	return reported && !slices.ContainsFunc(entries, func(s v1alpha1.AssignmentEntryStatus) bool { return s.Ready == metav1.ConditionUnknown })
}

// importFolder imports each file once, when it has stopped to change. It returns whether an update was taken. The folder
// is read at each look: a file that grows does not change its time, and the root of a FAT file system has none.
func (p *process) importFolder(ctx context.Context, f *folder) (taken bool) {
	now := map[string]seenFile{}
	entries, err := os.ReadDir(f.path)
	if err != nil { // no medium is mounted: one that comes is looked at anew
		f.seen = now
		return false
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !strings.HasSuffix(e.Name(), medium.Extension) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		is, was := seenFile{size: info.Size(), at: info.ModTime()}, f.seen[e.Name()]
		if was.size == is.size && was.at.Equal(is.at) {
			is.handled = true
			if file := filepath.Join(f.path, e.Name()); !was.handled && !isReport(file) {
				taken = p.importFile(ctx, file).Accepted || taken
			}
		}
		now[e.Name()] = is
	}
	f.seen = now
	return taken
}

// isReport reports whether a file is on its way to a hub. What cannot be read is not: it is refused by name.
func isReport(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	l, _, err := medium.ReadLabel(bufio.NewReader(f))
	return err == nil && l.Kind == medium.KindReport
}

// writeWhole makes a whole file appear at once, which is there after the power fails as well.
func writeWhole(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return fmt.Errorf("cannot write a file: %w", err)
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncFolder(filepath.Dir(name))
}

// syncFolder has a folder written down. Some file systems of media cannot, and need not.
func syncFolder(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("cannot write a file: %w", err)
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
