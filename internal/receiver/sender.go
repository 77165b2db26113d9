// Package receiver authenticates webhooks and passes on, of an authenticated one, a single wish: that sources
// are fetched again.
//
// What a webhook claims about a repository is believed by nothing: its body is read only by the filters
// of the Receiver. A body is parsed after its signature was verified, wherever the sender signs.
package receiver

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // HMAC-SHA1 is what Nexus signs with; the collisions of SHA-1 do not concern an HMAC
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

var (
	// ErrUnauthorized means that the signature or the token of a webhook is missing or wrong.
	ErrUnauthorized = errors.New("not authenticated")
	// ErrMalformed means that the body of a webhook is not what its type of sender sends.
	ErrMalformed = errors.New("malformed payload")
)

// MinPathToken is the least number of bytes of a token that authenticates by the path alone, which is made of it.
const MinPathToken = 16

// Webhook is a request as it arrived.
type Webhook struct {
	Header http.Header
	Body   []byte
}

// Sender is who may send webhooks to a Receiver.
type Sender struct {
	// Type is that of the Receiver.
	Type string
	// Token is the secret that sender and Receiver share.
	Token []byte
	// Events are the types of events that cause a fetch; all when empty.
	Events []string
	// Providers are the OIDC issuers whose tokens authenticate, of the types that have them, and Keys fetches
	// what these sign with.
	Providers []*Provider
	Keys      *Keys
}

// scheme is how a type of sender authenticates, and where the type of an event is read.
type scheme struct {
	// authenticate returns an error of ErrUnauthorized; nil for types that authenticate by the path alone, or
	// by a token of OIDC.
	authenticate func(Webhook, []byte) error
	// oidc means that a token of an OIDC issuer authenticates.
	oidc bool
	// event returns the type of the event, or an error of ErrMalformed; nil for types without events.
	event func(Webhook) (string, error)
	// object means that the body must be a JSON object.
	object bool
}

var schemes = map[string]scheme{
	v1alpha1.GenericReceiver:     {},
	v1alpha1.GenericHMACReceiver: {authenticate: signed(anyHash, "X-Signature")},
	v1alpha1.GitHubReceiver:      {authenticate: signed("sha256=", "X-Hub-Signature-256"), event: inHeader("X-Github-Event")},
	v1alpha1.GitLabReceiver:      {authenticate: tokenIn("X-Gitlab-Token"), event: inHeader("X-Gitlab-Event")},
	v1alpha1.BitbucketReceiver:   {authenticate: signed("sha256=", "X-Hub-Signature"), event: inHeader("X-Event-Key")},
	v1alpha1.GiteaReceiver:       {authenticate: signed("", "X-Forgejo-Signature", "X-Gitea-Signature"), event: inHeader("X-Forgejo-Event", "X-Gitea-Event")},
	v1alpha1.AzureDevOpsReceiver: {authenticate: basicAuth, event: azureEvent, object: true},
	v1alpha1.HarborReceiver:      {authenticate: tokenIn("Authorization")},
	v1alpha1.DockerHubReceiver:   {object: true},
	v1alpha1.QuayReceiver:        {object: true},
	v1alpha1.NexusReceiver:       {authenticate: nexusSigned, object: true},
	v1alpha1.ACRReceiver:         {object: true},
	v1alpha1.CDEventsReceiver:    {event: cdEvent, object: true},
	v1alpha1.GCRReceiver:         {oidc: true, object: true},
	v1alpha1.GenericOIDCReceiver: {oidc: true},
}

// HasEvents reports whether the webhooks of a type say what happened, so that spec.events can select.
func HasEvents(kind string) bool { return schemes[kind].event != nil }

// IsPathOnly reports whether nothing but the path authenticates the webhooks of a type.
func IsPathOnly(kind string) bool { return schemes[kind].authenticate == nil && !schemes[kind].oidc }

// HasClaims reports whether filters of a type may read the claims of the token that authenticates.
func HasClaims(kind string) bool { return kind == v1alpha1.GenericOIDCReceiver }

// Verify authenticates a webhook and then reads its type of event. It reports whether that is one of
// the events of the Receiver, and the claims of the token where one of OIDC authenticates.
func (s Sender) Verify(ctx context.Context, w Webhook) (wanted bool, claims map[string]any, err error) {
	by, known := schemes[s.Type]
	switch {
	case !known || len(s.Token) == 0 && !HasClaims(s.Type):
		err = fmt.Errorf("%w: no such type of sender, or no token", ErrUnauthorized)
	case by.oidc:
		claims, err = s.verifyToken(ctx, w)
	case by.authenticate != nil:
		err = by.authenticate(w, s.Token)
	}
	if err != nil {
		return false, nil, err
	}
	wanted, err = s.wants(by, w)
	return wanted, claims, err
}

// wants reads what the webhook of a sender that is authenticated says.
func (s Sender) wants(by scheme, w Webhook) (bool, error) {
	if by.object {
		if _, err := Payload(w); err != nil {
			return false, err
		}
	}
	if by.event == nil {
		return true, nil
	}
	event, err := by.event(w)
	if err != nil {
		return false, err
	}
	return len(s.Events) == 0 || slices.ContainsFunc(s.Events, func(want string) bool { return strings.EqualFold(want, event) }), nil
}

// Payload is the body as filters read it: a JSON object, or one in the field payload of a form, as GitHub
// sends when it is told to.
func Payload(w Webhook) (map[string]any, error) {
	body := w.Body
	if kind, _, err := mime.ParseMediaType(w.Header.Get("Content-Type")); err == nil && kind == "application/x-www-form-urlencoded" && !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, fmt.Errorf("%w: it is no form", ErrMalformed)
		}
		body = []byte(form.Get("payload"))
	}
	var object map[string]any
	if err := json.Unmarshal(body, &object); err != nil || object == nil {
		return nil, fmt.Errorf("%w: it is no JSON object", ErrMalformed) // without the text of the body
	}
	return object, nil
}

// anyHash stands for a signature that names its hash function itself, as "sha256=…".
const anyHash = "*"

// signed verifies an HMAC of the body in the first of the headers that is there. Its hash is SHA-256 with a fixed
// prefix, or the one that it names.
func signed(prefix string, headers ...string) func(Webhook, []byte) error {
	return func(w Webhook, token []byte) error {
		for _, name := range headers {
			value := w.Header.Get(name)
			if value == "" {
				continue
			}
			digest, hash := value, sha256.New
			if prefix == anyHash {
				algorithm, rest, _ := strings.Cut(value, "=")
				if hash = hashes[algorithm]; hash == nil {
					return fmt.Errorf("%w: %s must be sha256=, sha512= or sha1= and the HMAC in hexadecimal digits", ErrUnauthorized, name)
				}
				digest = rest
			} else if rest, ok := strings.CutPrefix(value, prefix); ok {
				digest = rest
			} else {
				return fmt.Errorf("%w: %s must begin with %s", ErrUnauthorized, name, prefix)
			}
			return verifyHMAC(hash, name, digest, w.Body, token)
		}
		return fmt.Errorf("%w: the header %s is missing; is a secret set at the sender?", ErrUnauthorized, headers[len(headers)-1])
	}
}

var hashes = map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}

func verifyHMAC(of func() hash.Hash, header, digest string, body, token []byte) error {
	got, err := hex.DecodeString(digest)
	mac := hmac.New(of, token)
	mac.Write(body)
	if err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return fmt.Errorf("%w: %s is not the HMAC of the body with this token", ErrUnauthorized, header)
	}
	return nil
}

func nexusSigned(w Webhook, token []byte) error {
	const header = "X-Nexus-Webhook-Signature"
	return verifyHMAC(sha1.New, header, w.Header.Get(header), w.Body, token)
}

// tokenIn compares the token with a header.
func tokenIn(header string) func(Webhook, []byte) error {
	return func(w Webhook, token []byte) error { return equalToken(header, w.Header.Get(header), token) }
}

// equalToken compares digests, so that the time tells nothing of the length either.
func equalToken(header, got string, token []byte) error {
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256(token)
	if subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
		return fmt.Errorf("%w: %s does not hold this token", ErrUnauthorized, header)
	}
	return nil
}

// basicAuth compares the token with the password; any user name goes.
func basicAuth(w Webhook, token []byte) error {
	_, password, _ := (&http.Request{Header: w.Header}).BasicAuth()
	return equalToken("the password in Authorization", password, token)
}

func inHeader(names ...string) func(Webhook) (string, error) {
	return func(w Webhook) (string, error) {
		for _, name := range names {
			if event := w.Header.Get(name); event != "" {
				return event, nil
			}
		}
		return "", fmt.Errorf("%w: the header %s is missing", ErrMalformed, names[len(names)-1])
	}
}

func azureEvent(w Webhook) (string, error) {
	payload, err := Payload(w)
	event, _ := payload["eventType"].(string)
	if err == nil && event == "" {
		err = fmt.Errorf("%w: eventType is missing", ErrMalformed)
	}
	return event, err
}

// cdEvent reads the type of a CDEvent: the header of the CloudEvent around it, as Flux does, or else its context.
func cdEvent(w Webhook) (string, error) {
	payload, err := Payload(w)
	if err != nil {
		return "", err
	}
	about, _ := payload["context"].(map[string]any)
	for _, name := range []string{"id", "source", "type"} {
		if value, _ := about[name].(string); value == "" {
			return "", fmt.Errorf("%w: context.%s is missing", ErrMalformed, name)
		}
	}
	if _, ok := payload["subject"].(map[string]any); !ok {
		return "", fmt.Errorf("%w: subject is missing", ErrMalformed)
	}
	if event := w.Header.Get("Ce-Type"); event != "" {
		return event, nil
	}
	event, _ := about["type"].(string)
	return event, nil
}
