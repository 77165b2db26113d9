package edge

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// An API server before 1.28 does not say whom it takes a client for. That a proxy drops the name is found out by the
// right that the credentials have and the account has not.
func TestWhetherAnAccountIsApartFromTheCredentials(t *testing.T) {
	for name, tt := range map[string]struct {
		of   rights
		want string
	}{
		"two users":                        {rights{credentials: true}, ""},
		"the account may do that as well":  {rights{credentials: true, account: true, reviewed: true}, ""},
		"its name gets lost":               {rights{credentials: true, account: true}, "have the rights of the credentials"},
		"the credentials may not":          {rights{}, "no right to update ConfigMaps in namespace skerry-system"},
		"the credentials may not, it may":  {rights{account: true, reviewed: true}, "no right to update"},
		"the credentials may not, unknown": {rights{account: true}, "no right to update"},
	} {
		err := tt.of.tell()
		if got := ""; err != nil {
			got = err.Error()
			if _, wrong := errors.AsType[*WrongUserError](err); !wrong || tt.want == "" || !strings.Contains(got, tt.want) {
				t.Errorf("%s: %v", name, err)
			}
		} else if tt.want != "" {
			t.Errorf("%s: admitted", name)
		}
	}
}

// A client shows the token that it was given last, in whichever name it asks.
func TestATokenIsReplacedInPlace(t *testing.T) {
	var shown []string
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		shown = append(shown, r.Header.Get("Authorization"))
		answer(w, http.StatusOK, map[string]any{"metadata": map[string]any{"uid": "u"}})
	})
	tenant, err := c.As(Account{Namespace: "team", Name: "deployer"})
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"", "first", "second"} {
		c.SetToken(token)
		for _, client := range []*Client{c, tenant} {
			if _, err := client.Identify(t.Context(), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := strings.Join(shown, ","); got != ",,Bearer first,Bearer first,Bearer second,Bearer second" {
		t.Errorf("shown: %s", got)
	}
}
