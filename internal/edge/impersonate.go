package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/transport"
)

// Account names a ServiceAccount of a cluster; the zero value names none.
type Account struct{ Namespace, Name string }

// User is how the API server calls the account.
func (a Account) User() string { return "system:serviceaccount:" + a.Namespace + ":" + a.Name }

func (a Account) String() string { return a.Namespace + "/" + a.Name }

// errNoAccount keeps a client from being made for a user without a name: to client-go, and to the API server,
// that is no impersonation at all.
var errNoAccount = errors.New("a ServiceAccount without a name or namespace cannot be impersonated")

// As returns a client every request of which is in the name of a ServiceAccount. It shares connections, limits
// and what is known of kinds with the client that it is made of. Only the user is named: its groups are the API
// server's to add, so that the credentials need no right to impersonate groups.
func (c *Client) As(a Account) (*Client, error) {
	if a.Namespace == "" || a.Name == "" {
		return nil, errNoAccount
	}
	client, err := c.impersonate(a.User())
	if err != nil {
		return nil, fmt.Errorf("cannot set up impersonation: %w", err)
	}
	return &Client{rest: client, shared: c.shared}, nil
}

func impersonating(user string, next http.RoundTripper) http.RoundTripper {
	return transport.NewImpersonatingRoundTripper(transport.ImpersonationConfig{UserName: user}, next)
}

// HasAccount reports whether there is a ServiceAccount. Of one that may not be looked at it is true: what is
// asked for in its name the API server decides, whether there is such an account or not.
func (c *Client) HasAccount(ctx context.Context, a Account) (bool, error) {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	res := c.rest.Get().AbsPath("/api/v1/namespaces", a.Namespace, "serviceaccounts", a.Name).SetHeader("Accept", asMetadata).Do(ctx)
	switch err := res.Error(); {
	case apierrors.IsForbidden(err):
		return true, nil
	case apierrors.IsNotFound(err) && !KindGone(err):
		return false, nil
	default:
		return err == nil, err
	}
}

// WrongUserError means that a cluster takes requests in the name of an account for those of somebody else, as it
// does behind a proxy that drops the header: they would have the rights of the credentials.
type WrongUserError struct{ User string }

func (e *WrongUserError) Error() string {
	return "the cluster takes requests in the name of the account for those of " + e.User
}

const selfReviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

// IsAccount asks the cluster whom it takes the client for, and returns nil when that is the account. An API
// server before 1.28 cannot be asked.
func (c *Client) IsAccount(ctx context.Context, a Account) error {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return err
	}
	defer done()
	res := c.rest.Post().AbsPath(selfReviews).SetHeader("Content-Type", "application/json").SetHeader("Accept", "application/json").
		Body([]byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`)).Do(ctx)
	raw, err := res.Raw()
	if err != nil {
		err = res.Error() // which has read the answer
	}
	if KindGone(err) || apierrors.IsForbidden(err) && strings.Contains(err.Error(), `User "`+a.User()+`" cannot`) {
		return nil // the API server is too old to be asked, or has said it by refusing
	}
	if err != nil {
		return err
	}
	var review struct {
		Status struct {
			UserInfo struct{ Username string }
		}
	}
	if err := json.Unmarshal(raw, &review); err != nil {
		return fmt.Errorf("%w: asked for a SelfSubjectReview", ErrNotAPI)
	}
	if got := review.Status.UserInfo.Username; got != a.User() {
		return &WrongUserError{User: cleanName(got)}
	}
	return nil
}

var (
	cannotImpersonate = regexp.MustCompile(`\bcannot impersonate\b`)
	// denied matches how the API server says that a user has no right to what was asked for, or may not grant
	// rights that it has not itself. Other refusals are "forbidden" as well: quotas, policies, namespaces that
	// are being deleted.
	denied = regexp.MustCompile(`(?i)\buser "[^"]*" (\(groups=\[[^\]]*\]\) )?(cannot |is attempting to grant RBAC permissions)`)
)

// MayNotImpersonate reports whether an error means that the credentials have no right to ask in another name.
func MayNotImpersonate(err error) bool {
	return apierrors.IsForbidden(err) && cannotImpersonate.MatchString(err.Error())
}

// Denied reports whether a request was refused for want of a right.
func Denied(err error) bool { return apierrors.IsForbidden(err) && denied.MatchString(err.Error()) }

// IssueToken requests a token of a ServiceAccount that lasts as long as is asked for, or as the API server allows.
func (c *Client) IssueToken(ctx context.Context, a Account, lifetime time.Duration) (string, error) {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	body, err := json.Marshal(map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": map[string]any{"expirationSeconds": int64(lifetime.Seconds())},
	})
	if err != nil {
		return "", fmt.Errorf("cannot encode: %w", err)
	}
	res := c.rest.Post().AbsPath("/api/v1/namespaces", a.Namespace, "serviceaccounts", a.Name, "token").
		SetHeader("Content-Type", "application/json").SetHeader("Accept", "application/json").Body(body).Do(ctx)
	raw, err := res.Raw()
	if err != nil {
		return "", res.Error() // which has read the answer
	}
	var issued struct{ Status struct{ Token string } }
	if err := json.Unmarshal(raw, &issued); err != nil || issued.Status.Token == "" {
		return "", fmt.Errorf("%w: asked for a token", ErrNotAPI)
	}
	return issued.Status.Token, nil
}
