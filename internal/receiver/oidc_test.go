package receiver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// recordedAt is when the recorded tokens were valid.
var recordedAt = time.Unix(1795600010, 0)

// sender is one of a type that accepts the recorded webhooks.
func sender(t *testing.T, kind string) Sender {
	t.Helper()
	s := Sender{Type: kind, Token: []byte(token)}
	if !schemes[kind].oidc {
		return s
	}
	data, err := os.ReadFile("testdata/issuer-keys.json")
	if err != nil {
		t.Fatal(err)
	}
	known := &issuerKeys{fetched: recordedAt, tried: recordedAt}
	if err := json.Unmarshal(data, &known.set); err != nil {
		t.Fatal(err)
	}
	s.Keys = &Keys{Now: func() time.Time { return recordedAt }, issuers: map[string]*issuerKeys{GoogleIssuer: known, GitHubActionsIssuer: known}}
	if kind == v1alpha1.GCRReceiver {
		s.Providers = []*Provider{GoogleProvider("push@team.iam.gserviceaccount.com", "https://hub.example.com")}
		return s
	}
	s.Token = nil
	s.Providers = []*Provider{provider(t, GitHubActionsIssuer, `claims.repository_owner == "team"`)}
	return s
}

func provider(t *testing.T, issuer string, validations ...string) *Provider {
	t.Helper()
	of := v1alpha1.OIDCProvider{IssuerURL: issuer, Variables: []v1alpha1.OIDCVariable{{Name: "owner", Expression: "claims.?repository_owner.orValue('')"}}}
	for _, text := range validations {
		of.Validations = append(of.Validations, v1alpha1.OIDCValidation{Expression: text, Message: "not the owner"})
	}
	p, err := NewProvider(of)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// issuer is an OIDC issuer on a TLS server of its own.
type issuer struct {
	*httptest.Server
	signer jose.Signer
	keys   *Keys
	asked  []string
	// answer replaces what is answered at a path, when it returns true.
	answer func(http.ResponseWriter, *http.Request) bool
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{}
	if i.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "one"}}, nil); err != nil {
		t.Fatal(err)
	}
	i.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked = append(i.asked, r.URL.Path)
		if i.answer != nil && i.answer(w, r) {
			return
		}
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.URL, i.URL+"/keys")
		case "/keys":
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "one", Use: "sig"}}})
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(i.Close)
	now := time.Unix(1_800_000_000, 0)
	i.keys = &Keys{Allowed: []string{i.URL}, Transport: i.Client().Transport, Now: func() time.Time { return now }}
	return i
}

// token signs claims, which overwrite those that are accepted.
func (i *issuer) token(t *testing.T, change map[string]any) Webhook {
	t.Helper()
	now := i.keys.Now().Unix()
	claims := map[string]any{"iss": i.URL, "aud": v1alpha1.DefaultOIDCAudience, "exp": now + 60, "repository_owner": "team"}
	for name, value := range change {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
	raw, err := jwt.Signed(i.signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return Webhook{Header: http.Header{"Authorization": {"Bearer " + raw}}, Body: []byte("{}")}
}

func (i *issuer) sender(t *testing.T, validations ...string) Sender {
	return Sender{Type: v1alpha1.GenericOIDCReceiver, Keys: i.keys, Providers: []*Provider{provider(t, i.URL, validations...)}}
}

func TestTokensOfAnotherIssuerAudienceTimeOrCallerAreRefused(t *testing.T) {
	i := newIssuer(t)
	now := i.keys.Now().Unix()
	for name, tt := range map[string]struct {
		change map[string]any
		holds  string
		want   bool
	}{
		"accepted":                  {nil, `vars.owner == "team"`, true},
		"a list of audiences":       {map[string]any{"aud": []string{"x", v1alpha1.DefaultOIDCAudience}}, "true", true},
		"another audience":          {map[string]any{"aud": "x"}, "true", false},
		"no audience":               {map[string]any{"aud": nil}, "true", false},
		"another issuer":            {map[string]any{"iss": i.URL + "/x"}, "true", false},
		"no issuer":                 {map[string]any{"iss": nil}, "true", false},
		"expired":                   {map[string]any{"exp": now - 61}, "true", false},
		"expired within the skew":   {map[string]any{"exp": now - 30}, "true", true},
		"without an end":            {map[string]any{"exp": nil}, "true", false},
		"not yet":                   {map[string]any{"nbf": now + 61}, "true", false},
		"another caller":            {map[string]any{"repository_owner": "other"}, `vars.owner == "team"`, false},
		"without the claim":         {map[string]any{"repository_owner": nil}, `claims.repository_owner == "team"`, false},
		"an expression of no bound": {nil, `[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, [1,2,3,4,5,6,7,8,9].all(e, a+b+c+d+e > 0)))))`, false},
	} {
		wanted, claims, err := i.sender(t, tt.holds).Verify(t.Context(), i.token(t, tt.change))
		if (err == nil) != tt.want || wanted != tt.want || (claims != nil) != tt.want || err != nil && !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%s: %v, %v, %v", name, wanted, claims, err)
		}
	}
}

func TestTokensThatAreNotSignedByTheIssuerAreRefused(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	good := i.token(t, nil).Header.Get("Authorization")
	parts := strings.Split(strings.TrimPrefix(good, "Bearer "), ".")
	none := "eyJhbGciOiJub25lIn0." + parts[1] + "."
	hmac, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat("x", 32))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	symmetric, err := jwt.Signed(hmac).Claims(map[string]any{"iss": i.URL, "aud": v1alpha1.DefaultOIDCAudience, "exp": i.keys.Now().Unix() + 60}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"nothing": "", "another scheme": "Basic " + parts[0], "no token": "Bearer x", "no signature": "Bearer " + none, "a symmetric one": "Bearer " + symmetric,
		"cut off": good[:len(good)-4], "another's body": "Bearer " + strings.Join([]string{parts[0], strings.Split(other.token(t, map[string]any{"iss": i.URL, "repository_owner": "other"}).Header.Get("Authorization"), ".")[1], parts[2]}, "."),
		"another's key": other.token(t, map[string]any{"iss": i.URL}).Header.Get("Authorization"),
	} {
		w := Webhook{Header: http.Header{"Authorization": {value}}, Body: []byte("{}")}
		if wanted, _, err := i.sender(t, "true").Verify(t.Context(), w); wanted || !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%s: %v, %v", name, wanted, err)
		}
	}
	if _, err := NewProvider(v1alpha1.OIDCProvider{IssuerURL: i.URL}); err == nil {
		t.Error("a provider without validations is accepted")
	}
}

func TestKeysAreFetchedOnceAMinuteAtMost(t *testing.T) {
	i := newIssuer(t)
	now := i.keys.Now()
	i.keys.Now = func() time.Time { return now }
	for range 100 { // IDs that the issuer does not have
		if _, err := i.keys.Of(t.Context(), i.URL, "unknown"); err != nil {
			t.Fatal(err)
		}
	}
	if len(i.asked) != 2 {
		t.Errorf("asked %d times", len(i.asked))
	}
	now = now.Add(keysPause)
	_, _ = i.keys.Of(t.Context(), i.URL, "unknown")
	if len(i.asked) != 4 {
		t.Errorf("asked %d times after a minute", len(i.asked))
	}
	now = now.Add(2 * keysLifetime)
	i.Close()
	if found, _ := i.keys.Of(t.Context(), i.URL, "one"); len(found) != 1 {
		t.Error("an issuer that is away takes its keys along")
	}
	now = now.Add(keysExpiry)
	if found, err := i.keys.Of(t.Context(), i.URL, "one"); len(found) != 0 || err == nil {
		t.Errorf("an issuer that is away for a day: %d keys, error %v", len(found), err)
	}
}

func TestTheHubAsksOnlyIssuersThatAreAllowed(t *testing.T) {
	k := &Keys{Allowed: []string{"https://git.example.com", "http://plain.example.com", "https://user@example.com"}, Now: time.Now}
	for issuer, want := range map[string]bool{
		GitHubActionsIssuer: true, GitLabIssuer: true, GoogleIssuer: true, "https://git.example.com": true,
		"https://git.example.com/": false, "https://git.example.com/x": false, "http://plain.example.com": false, "https://user@example.com": false,
		"https://169.254.169.254": false, "": false, "x": false, GitLabIssuer + "?x": false,
	} {
		if got := k.Allow(issuer) == nil; got != want {
			t.Errorf("%q: %v", issuer, got)
		}
	}
	if _, err := k.Of(t.Context(), "https://other.example.com", ""); !errors.Is(err, errIssuerNotAllowed) {
		t.Error(err)
	}
}

func TestAnIssuerCannotSendTheHubElsewhere(t *testing.T) {
	i := newIssuer(t)
	other := newIssuer(t)
	discovery := func(text string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "openid-configuration") {
				fmt.Fprint(w, text)
				return true
			}
			return false
		}
	}
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"a redirect": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, other.URL+r.URL.Path, http.StatusFound)
			return true
		},
		"plain http":        discovery(fmt.Sprintf(`{"issuer":%q,"jwks_uri":"http://127.0.0.1/keys"}`, i.URL)),
		"a file":            discovery(fmt.Sprintf(`{"issuer":%q,"jwks_uri":"file:///etc/passwd"}`, i.URL)),
		"credentials":       discovery(fmt.Sprintf(`{"issuer":%q,"jwks_uri":"https://a:b@example.com/keys"}`, i.URL)),
		"another issuer":    discovery(fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, other.URL, other.URL+"/keys")),
		"no JSON":           discovery(`<html>`),
		"an endless answer": discovery(strings.Repeat(" ", maxDocument) + "{}"),
		"an error":          func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusTeapot); return true },
		"too many keys":     func(w http.ResponseWriter, r *http.Request) bool { return r.URL.Path == "/keys" && many(w) },
	} {
		i.answer = answer
		k := &Keys{Allowed: []string{i.URL}, Transport: i.Client().Transport, Now: i.keys.Now}
		if found, err := k.Of(t.Context(), i.URL, ""); err == nil || len(found) > 0 || strings.Contains(err.Error(), "html") {
			t.Errorf("%s: %d keys, %v", name, len(found), err)
		}
	}
	if len(other.asked) > 0 {
		t.Errorf("the other server was asked %q", other.asked)
	}
}

// many answers with more keys than are taken.
func many(w http.ResponseWriter) bool {
	fmt.Fprint(w, `{"keys":[`+strings.TrimSuffix(strings.Repeat(`{"kty":"oct","k":"eA"},`, maxKeys+1), ",")+`]}`)
	return true
}

func TestASenderThatHangsUpKeepsNoOtherFromTheKeys(t *testing.T) {
	i := newIssuer(t)
	gone, hangUp := context.WithCancel(t.Context())
	i.answer = func(http.ResponseWriter, *http.Request) bool { hangUp(); return false }
	_, _ = i.keys.Of(gone, i.URL, "unknown")
	if gone.Err() == nil {
		t.Fatal("the issuer was not asked")
	}
	if found, err := i.keys.Of(t.Context(), i.URL, "one"); err != nil || len(found) != 1 {
		t.Errorf("%d keys, %v", len(found), err)
	}
}

// TestAnIssuerThatIsSlowHoldsUpNobodyWhoseKeyIsKnown: tokens with key IDs that nobody has make the hub ask it.
func TestAnIssuerThatIsSlowHoldsUpNobodyWhoseKeyIsKnown(t *testing.T) {
	i := newIssuer(t)
	now := i.keys.Now()
	i.keys.Now = func() time.Time { return now }
	if _, err := i.keys.Of(t.Context(), i.URL, "one"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * keysLifetime)
	asked, answer, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once sync.Once
	i.answer = func(http.ResponseWriter, *http.Request) bool {
		once.Do(func() { close(asked); <-answer })
		return false
	}
	go func() { // ends when the issuer has answered
		defer close(done)
		_, _ = i.keys.Of(t.Context(), i.URL, "unknown")
	}()
	<-asked
	if found, err := i.keys.Of(t.Context(), i.URL, "one"); err != nil || len(found) != 1 {
		t.Errorf("%d keys, %v", len(found), err)
	}
	close(answer)
	<-done
}

func TestAddressesOfPrivateNetworksAreNotDialled(t *testing.T) {
	for address, want := range map[string]bool{
		"93.184.216.34:443": true, "[2606:2800:220:1::1]:443": true,
		"127.0.0.1:443": false, "10.0.0.1:443": false, "172.16.0.1:443": false, "192.168.1.1:443": false, "169.254.169.254:80": false,
		"100.64.0.1:443": false, "0.0.0.0:443": false, "198.18.0.1:443": false, "224.0.0.1:443": false, "255.255.255.255:443": false,
		"[::1]:443": false, "[fe80::1]:443": false, "[fd00::1]:443": false, "[::ffff:10.0.0.1]:443": false, "[64:ff9b::a00:1]:443": false, "[2002:a00:1::1]:443": false, "x": false,
	} {
		if got := dialable(t.Context(), address) == nil; got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if dialable(context.WithValue(t.Context(), privateAllowed{}, true), "10.0.0.1:443") != nil {
		t.Error("an issuer that the flag names may lie in a private network")
	}
	// The transport of the hub itself: the name resolves, and the connection is refused.
	i := newIssuer(t)
	k := &Keys{Now: i.keys.Now}
	if err := k.document(t.Context(), GitLabIssuer, i.URL+"/keys", &struct{}{}); !errors.Is(err, errPrivateAddress) {
		t.Error(err)
	}
	if len(i.asked) > 0 {
		t.Error("the server was reached")
	}
}

func TestGoogleTokensAreOfOneAccountAndAudience(t *testing.T) {
	w := recorded(t, "gcr-pubsub")
	for name, p := range map[string]*Provider{
		"another account":  GoogleProvider("other@team.iam.gserviceaccount.com", "https://hub.example.com"),
		"another audience": GoogleProvider("push@team.iam.gserviceaccount.com", "https://other.example.com"),
		"injection":        GoogleProvider(`x" || "" == "`, "https://hub.example.com"),
	} {
		s := sender(t, v1alpha1.GCRReceiver)
		s.Providers = []*Provider{p}
		if wanted, _, err := s.Verify(t.Context(), w); wanted || !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%s: %v, %v", name, wanted, err)
		}
	}
}

func TestFiltersReadTheClaims(t *testing.T) {
	s := sender(t, v1alpha1.GenericOIDCReceiver)
	w := recorded(t, "generic-oidc-actions")
	_, claims, err := s.Verify(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{`claims.repository == "team/fleet"`: true, `claims.repository == "team/other"`: false} {
		f, err := NewFilter(s.Type, text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := (&Evaluation{webhook: w, claims: claims}).Admits(f, map[string]any{}); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if _, err := NewFilter(v1alpha1.GitHubReceiver, "claims.x == 1"); err == nil {
		t.Error("claims are there for a type that has none")
	}
}

func TestProvidersReadVariablesAndNameTheValidationThatFails(t *testing.T) {
	p, err := NewProvider(v1alpha1.OIDCProvider{
		IssuerURL: GitHubActionsIssuer,
		Variables: []v1alpha1.OIDCVariable{{Name: "owner", Expression: "claims.repository_owner"}, {Name: "named", Expression: "vars.owner + '/' + claims.name"}},
		Validations: []v1alpha1.OIDCValidation{
			{Expression: "vars.owner == 'team'", Message: "not of the team"},
			{Expression: "vars.named == 'team/fleet'", Message: "not of the fleet"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for owner, want := range map[string]string{"team/fleet": "", "other/fleet": "not of the team", "team/x": "not of the fleet", "team": "the variable named"} {
		owner, name, named := strings.Cut(owner, "/")
		claims := map[string]any{"repository_owner": owner}
		if named {
			claims["name"] = name
		}
		err := p.accept(claims)
		if want == "" && err != nil || want != "" && (!errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, the message should be %q", owner, err, want)
		}
	}
	for _, text := range []string{"claims.", "other.x == 1", "1"} {
		of := v1alpha1.OIDCProvider{IssuerURL: GitHubActionsIssuer, Validations: []v1alpha1.OIDCValidation{{Expression: text, Message: "x"}}}
		if _, err := NewProvider(of); err == nil {
			t.Errorf("the validation %s is accepted", text)
		}
	}
}
