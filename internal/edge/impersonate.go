package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/transport"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
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
	case apierrors.IsNotFound(err) && !apierror.KindGone(err):
		return false, nil
	default:
		return err == nil, err
	}
}

// WrongUserError means that a cluster takes requests in the name of an account for those of another user, as it
// does behind a proxy that drops the header: they would have the rights of the credentials.
type WrongUserError struct {
	// User is the user that they are taken for.
	User string
	// Why is the message where the cluster cannot be asked for its User.
	Why string
}

func (e *WrongUserError) Error() string {
	if e.Why != "" {
		return e.Why
	}
	return "the cluster takes requests in the name of the account for those of " + e.User
}

const (
	selfReviews       = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
	selfAccessReviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
	accessReviews     = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
)

// IsAccount asks the cluster whom it takes the client for, and returns nil when that is the account. An API server
// before 1.28 cannot be asked: there it is found out by the rights of the account and those of the credentials.
func (c *Client) IsAccount(ctx context.Context, a Account, credentials *Client) error {
	var review struct {
		Status struct {
			UserInfo struct{ Username string }
		}
	}
	err := c.review(ctx, selfReviews, map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}, &review)
	if apierror.KindGone(err) {
		return c.hasOwnRights(ctx, a, credentials)
	}
	if namesUser(err, a) {
		return nil
	}
	if err != nil {
		return err
	}
	if got := review.Status.UserInfo.Username; got != a.User() {
		return &WrongUserError{User: apierror.Clean(got)}
	}
	return nil
}

// namesUser reports whether a refusal names the account as the user that was refused.
func namesUser(err error, a Account) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), `User "`+a.User()+`" cannot`)
}

// hasOwnRights finds out whether the cluster takes what is asked in the name of an account for the credentials' own, by the
// one right that these must have and the account of a tenant has not: to write inventories. The right to impersonate the
// account would not do: who may edit or administer its own namespace has that as well, by the ClusterRoles of Kubernetes.
func (c *Client) hasOwnRights(ctx context.Context, a Account, credentials *Client) error {
	var r rights
	var err error
	if r.credentials, err = credentials.mayRecord(ctx, a, selfAccessReviews); err != nil {
		return err
	}
	if r.account, err = c.mayRecord(ctx, a, selfAccessReviews); namesUser(err, a) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.account {
		if r.reviewed, err = credentials.mayRecord(ctx, a, accessReviews); err != nil && !apierrors.IsForbidden(err) {
			return err
		}
	}
	return r.tell()
}

// rights are who may write inventories: the credentials, an account when it is asked in its name, and the account when
// the credentials ask about it.
type rights struct{ credentials, account, reviewed bool }

// tell decides by them:
//
//	credentials  in its name  about it
//	no           –            –         refused: they need the right
//	yes          no           –         two users: what is asked in its name has not the rights of the credentials
//	yes          yes          yes       the account writes what the hub goes by as well: no tenant's account does
//	yes          yes          no        one user: its name gets lost on the way
func (r rights) tell() error {
	switch {
	case !r.credentials:
		return &WrongUserError{Why: "the credentials of the Cluster have no right to update ConfigMaps in namespace " + v1alpha1.SystemNamespace}
	case r.account && !r.reviewed:
		return &WrongUserError{Why: "requests in the name of the account have the rights of the credentials, by the access reviews of the cluster, which is older than Kubernetes 1.28 and does not tell more"}
	}
	return nil
}

// mayRecord asks for a review of who may write inventories: the client itself, or an account.
func (c *Client) mayRecord(ctx context.Context, a Account, reviews string) (bool, error) {
	spec := map[string]any{"resourceAttributes": map[string]any{"verb": "update", "resource": "configmaps", "namespace": v1alpha1.SystemNamespace}}
	kind := "SelfSubjectAccessReview"
	if reviews == accessReviews {
		kind = "SubjectAccessReview"
		spec["user"], spec["groups"] = a.User(), []string{"system:serviceaccounts", "system:serviceaccounts:" + a.Namespace, "system:authenticated"}
	}
	var review struct{ Status struct{ Allowed bool } }
	err := c.review(ctx, reviews, map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}, &review)
	return review.Status.Allowed, err
}

// review posts a question to the API server and reads the answer into out.
func (c *Client) review(ctx context.Context, to string, question, out any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("cannot encode: %w", err)
	}
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return err
	}
	defer done()
	res := c.rest.Post().AbsPath(to).SetHeader("Content-Type", "application/json").SetHeader("Accept", "application/json").Body(body).Do(ctx)
	raw, err := res.Raw()
	if err != nil {
		return res.Error() // which has read the answer
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%w: asked for a review", ErrNotAPI)
	}
	return nil
}

// IssueToken requests a token of a ServiceAccount that lasts as long as is asked for, or as the API server allows.
func (c *Client) IssueToken(ctx context.Context, a Account, lifetime time.Duration) (string, error) {
	var issued struct{ Status struct{ Token string } }
	err := c.review(ctx, path.Join("/api/v1/namespaces", a.Namespace, "serviceaccounts", a.Name, "token"), map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": map[string]any{"expirationSeconds": int64(lifetime.Seconds())},
	}, &issued)
	if err == nil && issued.Status.Token == "" {
		err = fmt.Errorf("%w: asked for a token", ErrNotAPI)
	}
	return issued.Status.Token, err
}
