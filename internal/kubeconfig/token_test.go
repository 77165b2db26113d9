package kubeconfig

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestReadToken(t *testing.T) {
	const account = `"sub":"system:serviceaccount:skerry-system:skerry-hub"`
	got, ok := ReadToken(jwt(`{` + account + `,"iat":1700000000,"exp":1700003000}`))
	if !ok || got.Namespace != "skerry-system" || got.Name != "skerry-hub" || got.Lifetime() != 50*time.Minute || got.RenewAt().Unix() != 1700001000 {
		t.Errorf("%+v %v, renewed at %d", got, ok, got.RenewAt().Unix())
	}
	for what, token := range map[string]string{
		"one that does not expire": jwt(`{` + account + `}`),
		"one that ends before":     jwt(`{` + account + `,"iat":1700000000,"exp":1600000000}`),
		"a user's":                 jwt(`{"sub":"jane","iat":1700000000,"exp":1700003000}`),
		"without a name":           jwt(`{"sub":"system:serviceaccount:x:","iat":1700000000,"exp":1700003000}`),
		"no JWT":                   "abc",
		"garbage":                  "a.b.c",
		"none":                     "",
	} {
		if got, ok := ReadToken(token); ok {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

func TestWithTokenReplacesTheTokenOnly(t *testing.T) {
	out, err := WithToken([]byte(config(goodCluster, goodUser)), "another")
	if err != nil {
		t.Fatal(err)
	}
	before, _, err := Parse([]byte(config(goodCluster, goodUser)))
	if err != nil {
		t.Fatal(err)
	}
	after, _, err := Parse(out)
	if err != nil {
		t.Fatal(err)
	}
	if after.BearerToken != "another" || after.Host != before.Host || strings.Contains(string(out), secret) {
		t.Errorf("%s", out)
	}
}

// Another token of the same account is no other account; everything else that leads elsewhere, or as somebody else, is.
func TestAFingerprintThatOutlivesATokenOfTheAccount(t *testing.T) {
	const account, other = `"sub":"system:serviceaccount:skerry-system:skerry-hub"`, `"sub":"system:serviceaccount:skerry-system:other"`
	of := func(change func(*rest.Config)) string {
		cfg := &rest.Config{Host: "https://edge", BearerToken: jwt(`{` + account + `,"iat":1700000000,"exp":1700003000}`)}
		change(cfg)
		return AccountFingerprint(cfg)
	}
	first := of(func(*rest.Config) {})
	if next := of(func(cfg *rest.Config) { cfg.BearerToken = jwt(`{` + account + `,"iat":1700001000,"exp":1700004000}`) }); first == "" || next != first {
		t.Errorf("%q, then %q", first, next)
	}
	for what, change := range map[string]func(*rest.Config){
		"another account":       func(cfg *rest.Config) { cfg.BearerToken = jwt(`{` + other + `,"iat":1700000000,"exp":1700003000}`) },
		"another address":       func(cfg *rest.Config) { cfg.Host = "https://elsewhere" },
		"another authority":     func(cfg *rest.Config) { cfg.CAData = []byte("x") },
		"a certificate as well": func(cfg *rest.Config) { cfg.CertData = []byte("x") },
	} {
		if got := of(change); got == first || got == "" {
			t.Errorf("%s: %q", what, got)
		}
	}
	for what, token := range map[string]string{"no JWT": "abc", "a user's": jwt(`{"sub":"jane"}`), "none": ""} {
		if got := of(func(cfg *rest.Config) { cfg.BearerToken = token }); got != "" {
			t.Errorf("%s: %q", what, got)
		}
	}
}
