package kubeconfig

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
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
