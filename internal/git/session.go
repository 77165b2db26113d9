package git

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// session is one conversation with a server: its references, then perhaps one pack. It is the part
// of go-git's sessions that is used; nothing in it outlives the conversation or is shared with another.
type session interface {
	AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error)
	UploadPack(ctx context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error)
	ReceivePack(ctx context.Context, req *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error)
	Close() error
	// Words are what the server wrote beside the protocol, for a person at a terminal. They are not
	// sanitised, and no condition may hold them.
	Words() string
	// cause is the error that is behind err, which may have become text on its way up.
	cause(err error) error
	// offers is what the server advertised, once the references are listed.
	offers() *advertisement
	// repeatable means that the session takes another request after one that was refused.
	repeatable() bool
}

// Options of a Store or a Remote. The zero value has the default limits and no proxy.
type Options struct {
	// Limits bound what a repository may cost.
	Limits Limits
	// Proxy chooses the proxy for http and https, as http.ProxyFromEnvironment does; nil for none.
	Proxy func(*http.Request) (*url.URL, error)
	// Damaged is called with the key of a repository of which something could not be read: the next
	// Follow fetches it anew. It must not block. nil for none.
	Damaged func(key string)
	// Now is the clock by which the tokens of GitHub Apps are made and expire; nil where there are none.
	Now func() time.Time
	// tokens are those of GitHub Apps.
	tokens *tokens
	// scratch is the folder for files that live for a moment; empty for the system's.
	scratch string
}

// Limits bound what a repository may cost. A field of zero means its default. None of them is about the
// files that are rendered: those are read one by one, and what is not read costs nothing but its place on
// the disk.
type Limits struct {
	// References is the size of the server's list of references in bytes; 32 MiB.
	References int64
	// Pack is the size of one fetch on the wire in bytes; 2 GiB.
	Pack int64
	// Objects is how many objects one fetch may bring; 500,000, for which go-git's parser takes about 150 MiB.
	Objects int64
	// Inflated is the size of all objects of one fetch together in bytes; 16 times Pack.
	Inflated int64
	// Object is the size of one object in bytes, and half of it that of one which comes as a delta; 128 MiB,
	// above what GitHub takes.
	Object int64
	// Files is how many files and folders of a commit may differ from the one before; 500,000.
	Files int
	// Cache is how many bytes of files and folders are kept in memory so that the next commit need not
	// read them again, for all repositories together; 64 MiB.
	Cache int64
}

func (l Limits) withDefaults() Limits {
	l.References = cmp.Or(l.References, 32<<20)
	l.Pack = cmp.Or(l.Pack, 2<<30)
	l.Objects = cmp.Or(l.Objects, 500_000)
	l.Inflated = cmp.Or(l.Inflated, 16*l.Pack)
	l.Object = cmp.Or(l.Object, 128<<20)
	l.Files = cmp.Or(l.Files, 500_000)
	l.Cache = cmp.Or(l.Cache, 64<<20)
	return l
}

// maxReport bounds the answer to a push, in bytes.
const maxReport = 1 << 20

// limitError keeps the first error of a conversation, which go-git turns into text on the way up.
type limitError struct {
	mu  sync.Mutex
	err error
}

func (w *limitError) record(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && err != nil {
		w.err = err
	}
	return err
}

// cause is the first error seen, unless that is of no kind and the one that came up is.
func (w *limitError) cause(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && w.err != nil && (isTyped(w.err) || !isTyped(err)) {
		return w.err
	}
	return err
}

// bounded reads at most left bytes and then fails with ErrTooLarge. limit records every error but
// the end.
type bounded struct {
	io.Reader
	left  int64
	what  string
	limit *limitError
	// listing, if it is set, keeps the beginning of what is read.
	listing *advertisement
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, b.limit.record(fail(ErrTooLarge, "%s", b.what))
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more than allowed distinguishes too much from just enough
	}
	n, err := b.Reader.Read(p)
	b.left -= int64(n)
	if b.listing != nil {
		b.listing.keep(p[:n])
	}
	if b.left < 0 {
		return 0, b.limit.record(fail(ErrTooLarge, "%s", b.what))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.limit.record(err)
	}
	return n, err
}
