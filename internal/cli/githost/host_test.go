package githost

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/testkit/hostapi"
)

const public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtHq6Yz0iJZ0bWn0e8v5nq9m1h3a5vV1h2u3w4x5y6z"

func newServer(t *testing.T, kind string) *hostapi.Server {
	t.Helper()
	s, err := hostapi.New(hostapi.Options{Kind: kind, Token: "t0ken"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// hosts are the kinds of server, and where each says that the repository is for SSH.
var hosts = map[string]struct {
	open func(Options) (Host, error)
	ssh  string
}{
	"github":           {GitHub, "ssh://git@ghe.example/team/fleet.git"},
	"gitlab":           {GitLab, "ssh://git@gitlab.example/team/fleet.git"},
	"gitea":            {Gitea, "ssh://git@gitea.example:2222/team/fleet.git"},
	"bitbucket-server": {BitbucketServer, "ssh://git@bitbucket.example:7999/team/fleet.git"},
}

func TestHostsMakeWhatIsMissingAndLeaveWhatIsThere(t *testing.T) {
	for name, tt := range hosts {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, name)
			host, err := tt.open(Options{Hostname: s.URL, Token: "t0ken", Client: s.Client()})
			if err != nil {
				t.Fatal(err)
			}
			r := Repository{Owner: "team", Name: "fleet", Private: true}
			for _, first := range []bool{true, false} {
				urls, made, err := host.Ensure(t.Context(), r)
				if err != nil || made != first || urls.HTTPS != s.URL+"/team/fleet.git" || urls.SSH != tt.ssh {
					t.Fatalf("ensure: %v, made %v, %v", urls, made, err)
				}
				if err := host.Grant(t.Context(), r, []string{"ops"}); err != nil {
					t.Fatal(err)
				}
				added, err := host.Deploy(t.Context(), r, Key{Title: "hub", Public: public, ReadOnly: true})
				if err != nil || added != first {
					t.Fatalf("deploy: added %v, %v", added, err)
				}
			}
			if sent := s.Sent(); !strings.Contains(sent, "private:true") && !strings.Contains(sent, "visibility:private") && !strings.Contains(sent, "public:false") {
				t.Errorf("the repository is not private: %s", sent)
			}
			if sent := s.Sent(); !strings.Contains(sent, "read_only:true") && !strings.Contains(sent, "can_push:false") && !strings.Contains(sent, "permission:REPO_READ") {
				t.Errorf("the key may push: %s", sent)
			}
			s.SetMade(false)
			r.Personal = true
			if _, made, err := host.Ensure(t.Context(), r); err != nil || !made {
				t.Errorf("of a user: made %v, %v", made, err)
			}
			wrong, err := tt.open(Options{Hostname: s.URL, Token: "other", Client: s.Client()})
			if err == nil {
				_, _, err = wrong.Ensure(t.Context(), r)
			}
			if err == nil || !errors.Is(err, ErrUnauthorized) && name != "gitea" {
				t.Errorf("another token: %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "other") {
				t.Errorf("the token is in the error: %v", err)
			}
		})
	}
}

// TestDeployKeyIsFoundOnEveryPage, however few keys a server sends at once.
func TestDeployKeyIsFoundOnEveryPage(t *testing.T) {
	for name, tt := range hosts {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, name)
			s.SetMade(true)
			var keys []hostapi.Key
			for i := range 2*hostapi.KeysOnAPage + 1 {
				keys = append(keys, hostapi.Key{Text: fmt.Sprintf("ssh-ed25519 AAAA%d", i)})
			}
			keys = append(keys, hostapi.Key{Text: public})
			s.SetKeys(keys...)
			host, err := tt.open(Options{Hostname: s.URL, Token: "t0ken", Client: s.Client()})
			if err != nil {
				t.Fatal(err)
			}
			r := Repository{Owner: "team", Name: "fleet"}
			if added, err := host.Deploy(t.Context(), r, Key{Title: "hub", Public: public}); err != nil || added || len(s.Keys()) != len(keys) {
				t.Errorf("added %v, %v: %d keys", added, err, len(s.Keys()))
			}
			s.SetKeys(keys[:2*hostapi.KeysOnAPage]...) // full pages, and nothing behind them
			if added, err := host.Deploy(t.Context(), r, Key{Title: "hub", Public: public}); err != nil || !added {
				t.Errorf("a key that is not there: added %v, %v", added, err)
			}
		})
	}
}

// TestRepositoryOfAnotherUserIsNotMade: the servers make what a user asks for under that user, whoever is named.
func TestRepositoryOfAnotherUserIsNotMade(t *testing.T) {
	for name, tt := range hosts {
		if name == "bitbucket-server" {
			continue // it is asked for the repository of a user by name
		}
		t.Run(name, func(t *testing.T) {
			s := newServer(t, name)
			inner := s.Config.Handler
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/ann/fleet") {
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(http.StatusNotFound)
					_, _ = w.Write([]byte(`{"message": "not found"}`))
					return
				}
				inner.ServeHTTP(w, r)
			})
			host, err := tt.open(Options{Hostname: s.URL, Token: "t0ken", Client: s.Client()})
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = host.Ensure(t.Context(), Repository{Owner: "ann", Name: "fleet", Personal: true})
			if !errors.Is(err, ErrOtherUser) || !strings.Contains(strings.ToLower(err.Error()), "it is of team, and the owner is to be ann") || s.Sent() != "" {
				t.Errorf("%v, made %v", err, s.Sent())
			}
		})
	}
}

// TestTokenFollowsNoRedirectToAnotherServer, whichever way the library puts it into requests.
func TestTokenFollowsNoRedirectToAnotherServer(t *testing.T) {
	for name, tt := range hosts {
		t.Run(name, func(t *testing.T) {
			other := newServer(t, name)
			to := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
			first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, to+r.URL.Path, http.StatusTemporaryRedirect)
			}))
			t.Cleanup(first.Close)
			host, err := tt.open(Options{Hostname: first.URL, Token: "t0ken", Client: first.Client()})
			if err == nil {
				_, _, err = host.Ensure(t.Context(), Repository{Owner: "team", Name: "fleet"})
			}
			if !errors.Is(err, ErrRedirected) || other.Asked() > 0 {
				t.Errorf("asked %d times, %v", other.Asked(), err)
			}
			if err != nil && strings.Contains(err.Error(), "t0ken") {
				t.Errorf("the token is in the error: %v", err)
			}
		})
	}
}

// TestRedirectOnOneServerIsFollowed, as GitHub answers for a repository that was renamed.
func TestRedirectOnOneServerIsFollowed(t *testing.T) {
	s := newServer(t, "github")
	s.SetMade(true)
	inner := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/repos/team/old") {
			http.Redirect(w, r, "/api/v3/repos/team/fleet", http.StatusMovedPermanently)
			return
		}
		inner.ServeHTTP(w, r)
	})
	host, err := GitHub(Options{Hostname: s.URL, Token: "t0ken", Client: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if _, made, err := host.Ensure(t.Context(), Repository{Owner: "team", Name: "old"}); err != nil || made {
		t.Errorf("made %v, %v", made, err)
	}
}

func TestTokenIsNotSentOverHTTP(t *testing.T) {
	for name, tt := range hosts {
		if _, err := tt.open(Options{Hostname: "http://git.example.com", Token: "t0ken"}); !errors.Is(err, ErrInsecure) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := BitbucketServer(Options{Token: "t0ken"}); err == nil {
		t.Error("Bitbucket Data Center without a host name")
	}
}

func TestCloneURLOfAnotherServerIsRefused(t *testing.T) {
	for name, tt := range map[string]struct{ clone, server, want string }{
		"the public server":  {"https://github.com/team/fleet.git", "github.com", ""},
		"one of one's own":   {"https://git.example.com/team/fleet.git", "git.example.com", ""},
		"by URL, upper case": {"https://git.example.com:8443/team/fleet.git", "https://GIT.example.com", ""},
		"on this machine":    {"http://127.0.0.1:3000/team/fleet.git", "http://127.0.0.1:3000", ""},
		"another host":       {"https://evil.example.com/team/fleet.git", "git.example.com", "give --hostname evil.example.com"},
		"a host below":       {"https://x.github.com/team/fleet.git", "github.com", "it is at x.github.com"},
		"over http":          {"http://git.example.com/team/fleet.git", "git.example.com", "and not https"},
		"another scheme":     {"file://git.example.com/etc", "git.example.com", "and not https"},
		"with credentials":   {"https://u:hunter2@git.example.com/x.git", "git.example.com", "holds credentials"},
		"none":               {"", "git.example.com", "names none for HTTPS"},
		"not a URL":          {"::", "git.example.com", "cannot be read"},
	} {
		err := CheckClone(tt.clone, tt.server)
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrOtherHost) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
