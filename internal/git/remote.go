package git

import (
	"context"
	"errors"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// service is the command that a conversation is held with.
type service string

const (
	uploadPack  service = transport.UploadPackServiceName
	receivePack service = transport.ReceivePackServiceName
)

// doing names what is done by a command.
func (s service) doing() string {
	if s == receivePack {
		return "push"
	}
	return "fetch"
}

// Remote is a repository on a server. The hub's fetch and the push of the command line hold their
// conversations through the same transport, so that a URL and a Secret that serve one serve the other.
type Remote struct {
	endpoint endpoint
	auth     Auth
	options  Options
}

// NewRemote returns the repository at a URL. The server is not asked for anything yet. Errors are
// ErrInvalidURL and ErrInvalidSecret.
func NewRemote(url string, auth Auth, o Options) (*Remote, error) {
	e, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	if err := auth.check(e); err != nil {
		return nil, err
	}
	o.Limits, o.tokens = o.Limits.withDefaults(), newTokens()
	return &Remote{endpoint: e, auth: auth, options: o}, nil
}

// Conversation is one exchange with a server: its references, then one pack in either direction. Its
// errors have the kinds of this package.
type Conversation struct {
	session
	endpoint endpoint
	command  service
}

// Upload begins a conversation in which the server sends a pack.
func (r *Remote) Upload(ctx context.Context) (*Conversation, error) {
	return r.converse(ctx, uploadPack)
}

// Receive begins a conversation in which the server receives a pack.
func (r *Remote) Receive(ctx context.Context) (*Conversation, error) {
	return r.converse(ctx, receivePack)
}

func (r *Remote) converse(ctx context.Context, command service) (*Conversation, error) {
	s, err := openSession(ctx, r.endpoint, r.auth, r.options, command)
	if err != nil {
		return nil, explain(ctx, r.endpoint, 0, err)
	}
	return &Conversation{s, r.endpoint, command}, nil
}

// openSession begins a conversation.
func openSession(ctx context.Context, e endpoint, auth Auth, o Options, command service) (session, error) {
	if e.scheme == "ssh" {
		return openSSH(ctx, e, auth, o, command)
	}
	auth, err := o.tokens.login(ctx, auth, o)
	if err != nil {
		return nil, err
	}
	return openHTTP(e, auth, o, command)
}

// References lists the references of the server. The list of an empty repository is ErrEmptyRepository
// where a pack is to be fetched, and no error where one is to be pushed.
func (c *Conversation) References(ctx context.Context) (*packp.AdvRefs, error) {
	refs, err := c.AdvertisedReferencesContext(ctx)
	if failed := c.offers().checkFormat(); failed != nil {
		return nil, failed
	}
	if errors.Is(err, transport.ErrEmptyRemoteRepository) && c.command == receivePack {
		return packp.NewAdvRefs(), nil
	}
	return refs, c.explain(ctx, err)
}

// Pack asks for one commit, without its history where the server can leave that out, and returns the
// pack.
func (c *Conversation) Pack(ctx context.Context, refs *packp.AdvRefs, want plumbing.Hash) (io.ReadCloser, error) {
	req := uploadRequest(refs, c.offers())
	req.Wants = []plumbing.Hash{want}
	if refs.Capabilities.Supports(capability.Shallow) {
		_ = req.Capabilities.Set(capability.Shallow)
		req.Depth = packp.DepthCommits(1)
	}
	res, err := c.UploadPack(ctx, req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	return readCloser{explained{packOf(req, res), c, ctx}, res}, nil
}

// Push sends a pack. The report is nil where the server gave none.
func (c *Conversation) Push(ctx context.Context, req *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error) {
	report, err := c.ReceivePack(ctx, req)
	if report != nil {
		return report, err
	}
	return nil, c.explain(ctx, err)
}

func (c *Conversation) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return explain(ctx, c.endpoint, 0, c.cause(err))
}

// explained gives the errors of a pack that is being read their kinds.
type explained struct {
	io.Reader
	conversation *Conversation
	ctx          context.Context //nolint:containedctx // of the conversation whose pack is read
}

func (e explained) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // readers compare with the end itself
		err = e.conversation.explain(e.ctx, err)
	}
	return n, err
}

// uploadRequest is a request for a pack with the capabilities that every request has. Azure DevOps and
// AWS CodeCommit answer none without an acknowledgement capability.
func uploadRequest(refs *packp.AdvRefs, offers *advertisement) *packp.UploadPackRequest {
	req := packp.NewUploadPackRequestFromCapabilities(refs.Capabilities)
	if refs.Capabilities.Supports(capability.NoProgress) {
		_ = req.Capabilities.Set(capability.NoProgress)
	}
	if c := offers.acknowledgement(); c != "" {
		_ = req.Capabilities.Set(c)
	}
	return req
}

// packOf reads the pack out of an answer.
func packOf(req *packp.UploadPackRequest, res *packp.UploadPackResponse) io.Reader {
	switch {
	case req.Capabilities.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, res)
	case req.Capabilities.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, res)
	}
	return res
}
