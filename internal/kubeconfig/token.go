package kubeconfig

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// Token describes a bearer token that an API server issued for a ServiceAccount and that expires.
type Token struct {
	Namespace, Name string // of the account
	Issued, Expires time.Time
}

// ReadToken reads what a token says of itself, which its API server alone can verify. It is false for one that
// does not expire, or is not of a ServiceAccount.
func ReadToken(token string) (Token, bool) {
	c, ok := readClaims(token)
	namespace, name, is := c.account()
	if !ok || !is || c.Expires <= c.Issued || c.Issued <= 0 {
		return Token{}, false
	}
	return Token{Namespace: namespace, Name: name, Issued: time.Unix(int64(c.Issued), 0), Expires: time.Unix(int64(c.Expires), 0)}, true
}

// claims are what a token says of itself.
type claims struct {
	Subject string  `json:"sub"`
	Issued  float64 `json:"iat"`
	Expires float64 `json:"exp"`
}

func readClaims(token string) (c claims, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return c, false
	}
	err = json.Unmarshal(raw, &c)
	return c, err == nil
}

// account returns the ServiceAccount that the token is of.
func (c claims) account() (namespace, name string, ok bool) {
	account, is := strings.CutPrefix(c.Subject, "system:serviceaccount:")
	namespace, name, ok = strings.Cut(account, ":")
	return namespace, name, is && ok && namespace != "" && name != ""
}

// AccountFingerprint is the fingerprint of a connection with the ServiceAccount in place of its token: it stays the same
// when another token of that account takes the place of the one in use. It is empty where there is no such token.
func AccountFingerprint(cfg *rest.Config) string {
	c, ok := readClaims(cfg.BearerToken)
	if _, _, is := c.account(); !ok || !is {
		return ""
	}
	cfg = rest.CopyConfig(cfg)
	cfg.BearerToken = c.Subject
	return fingerprint(cfg)
}

// RenewAt is when the token is to be renewed: a third of its life is over, so that a cluster which is away for
// most of the rest is still let in when it comes back. The times are those of the cluster's clock.
func (t Token) RenewAt() time.Time { return t.Issued.Add(t.Lifetime() / 3) }

// Lifetime is how long the token is valid from the beginning to the end.
func (t Token) Lifetime() time.Duration { return t.Expires.Sub(t.Issued) }

// WithToken returns a kubeconfig with another token for the user that current-context leads to. Every error is a
// *FieldError.
func WithToken(data []byte, token string) ([]byte, error) {
	file, err := decode(data)
	if err != nil {
		return nil, err
	}
	current, err := currentContext(file)
	if err != nil {
		return nil, err
	}
	file.AuthInfos[current.userIndex].AuthInfo.Token = token
	out, err := yaml.Marshal(file)
	if err != nil {
		return nil, refuse("cannot be encoded", "")
	}
	return out, nil
}
