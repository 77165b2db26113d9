package git

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

// maxAdvertisement bounds what is kept of a listing, in bytes: the longest line of Git's protocol.
const maxAdvertisement = 64 << 10

// advertisement keeps the beginning of a listing of references, where the server names its
// capabilities. go-git drops those that it does not know, and stops without a usable error at object
// names that are no SHA-1.
type advertisement struct {
	mu   sync.Mutex
	head []byte
}

// keep adds bytes of the listing.
func (a *advertisement) keep(p []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if room := maxAdvertisement - len(a.head); room > 0 {
		a.head = append(a.head, p[:min(room, len(p))]...)
	}
}

// capabilities returns what the first reference is followed by.
func (a *advertisement) capabilities() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, after, _ := bytes.Cut(a.head, []byte{0})
	line, _, _ := bytes.Cut(after, []byte("\n"))
	return strings.Fields(string(line))
}

// checkFormat refuses a repository whose objects have names that are no SHA-1.
func (a *advertisement) checkFormat() error {
	for _, c := range a.capabilities() {
		if format, ok := strings.CutPrefix(c, "object-format="); ok && format != "sha1" {
			return fail(ErrObjectFormat, "the repository has object format %.20q, and only \"sha1\" is supported: "+
				"convert it, or push a copy into a repository made with \"git init --object-format=sha1\"", format)
		}
	}
	return nil
}

// acknowledgement returns the capability by which a server acknowledges, one by one, the commits that
// the store has. Azure DevOps and AWS CodeCommit answer no request without it; go-git does not ask for
// it, but reads such answers. It is empty where the server has none.
func (a *advertisement) acknowledgement() capability.Capability {
	offered := a.capabilities()
	for _, c := range []capability.Capability{capability.MultiACKDetailed, capability.MultiACK} {
		if slices.Contains(offered, c.String()) {
			return c
		}
	}
	return ""
}
