package githost

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

const public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtHq6Yz0iJZ0bWn0e8v5nq9m1h3a5vV1h2u3w4x5y6z"

// server speaks as much of an API as the package asks for. Each kind has its paths; what it is sent is kept.
type server struct {
	*httptest.Server
	made map[string]map[string]any // bodies of what was created, by path
	repo bool
	keys []string
}

// api answers a request, and may set headers.
type api func(s *server, h http.Header, r *http.Request, body map[string]any) (int, any)

func newServer(t *testing.T, routes api) *server {
	t.Helper()
	s := &server{made: map[string]map[string]any{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if auth := r.Header.Get("Authorization") + r.Header.Get("Private-Token"); !strings.Contains(auth, "t0ken") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body)
		if r.Method == http.MethodPost || r.Method == http.MethodPut {
			s.made[r.URL.Path] = body
		}
		code, answer := routes(s, w.Header(), r, body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return s
}

// keysOnAPage is how many the servers send at most, however many they are asked for.
const keysOnAPage = 2

// page is one page of the keys, from 1, and whether it is the last.
func (s *server) page(number int) ([]map[string]any, bool) {
	from := min(len(s.keys), (number-1)*keysOnAPage)
	to := min(len(s.keys), from+keysOnAPage)
	out := []map[string]any{}
	for _, k := range s.keys[from:to] {
		out = append(out, map[string]any{"id": 1, "key": k + " comment"})
	}
	return out, to == len(s.keys)
}

// numbered is the page that is asked for.
func numbered(r *http.Request) int {
	n, _ := strconv.Atoi(r.URL.Query().Get("page"))
	return max(n, 1)
}

func gitHubAPI(s *server, h http.Header, r *http.Request, body map[string]any) (int, any) {
	repo := map[string]any{"clone_url": s.URL + "/team/fleet.git", "ssh_url": "git@ghe.example:team/fleet.git"}
	switch at := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api/v3"); at {
	case "GET /repos/team/fleet":
		if !s.repo {
			return http.StatusNotFound, map[string]any{"message": "Not Found"}
		}
		return http.StatusOK, repo
	case "POST /orgs/team/repos", "POST /user/repos":
		s.repo = true
		return http.StatusCreated, repo
	case "PUT /orgs/team/teams/ops/repos/team/fleet":
		return http.StatusNoContent, nil
	case "GET /repos/team/fleet/keys":
		keys, last := s.page(numbered(r))
		if !last {
			h.Set("Link", fmt.Sprintf(`<%s%s?page=%d>; rel="next"`, s.URL, r.URL.Path, numbered(r)+1))
		}
		return http.StatusOK, keys
	case "GET /user":
		return http.StatusOK, map[string]any{"login": "Team"}
	case "POST /repos/team/fleet/keys":
		s.keys = append(s.keys, body["key"].(string))
		return http.StatusCreated, map[string]any{"id": 1}
	}
	return http.StatusTeapot, map[string]any{"message": r.Method + " " + r.URL.Path}
}

func gitLabAPI(s *server, h http.Header, r *http.Request, body map[string]any) (int, any) {
	repo := map[string]any{"id": 1, "http_url_to_repo": s.URL + "/team/fleet.git", "ssh_url_to_repo": "git@gitlab.example:team/fleet.git"}
	switch at := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api/v4"); at {
	case "GET /projects/team/fleet":
		if !s.repo {
			return http.StatusNotFound, map[string]any{"message": "404 Project Not Found"}
		}
		return http.StatusOK, repo
	case "GET /groups/team", "GET /groups/ops":
		return http.StatusOK, map[string]any{"id": 7}
	case "POST /projects":
		s.repo = true
		return http.StatusCreated, repo
	case "POST /projects/team/fleet/share":
		return http.StatusCreated, nil
	case "GET /projects/team/fleet/deploy_keys":
		keys, last := s.page(numbered(r))
		if !last {
			h.Set("X-Next-Page", strconv.Itoa(numbered(r)+1))
		}
		return http.StatusOK, keys
	case "GET /user":
		return http.StatusOK, map[string]any{"id": 1, "username": "team"}
	case "POST /projects/team/fleet/deploy_keys":
		s.keys = append(s.keys, body["key"].(string))
		return http.StatusCreated, map[string]any{"id": 1}
	}
	return http.StatusTeapot, map[string]any{"message": r.Method + " " + r.URL.Path}
}

func giteaAPI(s *server, h http.Header, r *http.Request, body map[string]any) (int, any) {
	repo := map[string]any{"id": 1, "clone_url": s.URL + "/team/fleet.git", "ssh_url": "ssh://git@gitea.example:2222/team/fleet.git"}
	switch at := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api/v1"); at {
	case "GET /version":
		return http.StatusOK, map[string]any{"version": "1.24.0"}
	case "GET /repos/team/fleet":
		if !s.repo {
			return http.StatusNotFound, map[string]any{"message": "not found"}
		}
		return http.StatusOK, repo
	case "POST /org/team/repos", "POST /user/repos", "POST /orgs/team/repos":
		s.repo = true
		return http.StatusCreated, repo
	case "PUT /repos/team/fleet/teams/ops":
		return http.StatusNoContent, nil
	case "GET /repos/team/fleet/keys":
		keys, _ := s.page(numbered(r))
		return http.StatusOK, keys
	case "GET /user":
		return http.StatusOK, map[string]any{"id": 1, "login": "team"}
	case "POST /repos/team/fleet/keys":
		s.keys = append(s.keys, body["key"].(string))
		return http.StatusCreated, map[string]any{"id": 1}
	}
	return http.StatusTeapot, map[string]any{"message": r.Method + " " + r.URL.Path}
}

// bitbucketAPI has the repository in the project TEAM, which is called "team", as Bitbucket answers.
func bitbucketAPI(s *server, _ http.Header, r *http.Request, body map[string]any) (int, any) {
	missing := func(what string) (int, any) {
		return http.StatusNotFound, map[string]any{"errors": []any{map[string]any{"context": nil, "message": what + " does not exist."}}}
	}
	repo := map[string]any{"slug": "fleet", "id": 1, "project": map[string]any{"key": "TEAM"}, "links": map[string]any{"clone": []any{
		map[string]any{"href": "ssh://git@bitbucket.example:7999/team/fleet.git", "name": "ssh"},
		map[string]any{"href": strings.Replace(s.URL, "://", "://ann@", 1) + "/team/fleet.git", "name": "http"},
	}}}
	switch at := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/rest"); at {
	case "GET /api/1.0/projects/team":
		return missing("Project team")
	case "GET /api/1.0/projects":
		return http.StatusOK, map[string]any{"isLastPage": true, "values": []any{map[string]any{"key": "OTHER", "name": "Team B"}, map[string]any{"key": "TEAM", "name": "team"}}}
	case "GET /api/1.0/projects/TEAM/repos/fleet", "GET /api/1.0/projects/~team/repos/fleet":
		if !s.repo {
			return missing("Repository TEAM/fleet")
		}
		return http.StatusOK, repo
	case "POST /api/1.0/projects/TEAM/repos", "POST /api/1.0/projects/~team/repos":
		s.repo = true
		return http.StatusCreated, repo
	case "PUT /api/1.0/projects/TEAM/repos/fleet/permissions/groups":
		if r.URL.Query().Get("name") == "ops" && r.URL.Query().Get("permission") == "REPO_WRITE" {
			return http.StatusNoContent, nil
		}
	case "GET /keys/1.0/projects/TEAM/repos/fleet/ssh":
		start, _ := strconv.Atoi(r.URL.Query().Get("start"))
		keys, last := s.page(start/keysOnAPage + 1)
		values := []any{}
		for _, k := range keys {
			values = append(values, map[string]any{"key": map[string]any{"id": 1, "text": k["key"], "label": "hub"}, "permission": "REPO_READ"})
		}
		answer := map[string]any{"size": len(keys), "limit": keysOnAPage, "start": start, "isLastPage": last, "values": values, "nextPageStart": nil}
		if !last {
			answer["nextPageStart"] = start + keysOnAPage
		}
		return http.StatusOK, answer
	case "POST /keys/1.0/projects/TEAM/repos/fleet/ssh":
		s.keys = append(s.keys, body["key"].(map[string]any)["text"].(string))
		return http.StatusCreated, map[string]any{"permission": body["permission"]}
	}
	return http.StatusTeapot, map[string]any{"errors": []any{map[string]any{"message": r.Method + " " + r.URL.Path}}}
}

// hosts are the kinds of server, with what stands in for each.
var hosts = map[string]struct {
	api  api
	open func(Options) (Host, error)
	ssh  string
}{
	"github":           {gitHubAPI, GitHub, "ssh://git@ghe.example/team/fleet.git"},
	"gitlab":           {gitLabAPI, GitLab, "ssh://git@gitlab.example/team/fleet.git"},
	"gitea":            {giteaAPI, Gitea, "ssh://git@gitea.example:2222/team/fleet.git"},
	"bitbucket-server": {bitbucketAPI, BitbucketServer, "ssh://git@bitbucket.example:7999/team/fleet.git"},
}

func TestHostsMakeWhatIsMissingAndLeaveWhatIsThere(t *testing.T) {
	for name, tt := range hosts {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, tt.api)
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
			if sent := fmt.Sprint(s.made); !strings.Contains(sent, "private:true") && !strings.Contains(sent, "visibility:private") && !strings.Contains(sent, "public:false") {
				t.Errorf("the repository is not private: %s", sent)
			}
			if sent := fmt.Sprint(s.made); !strings.Contains(sent, "read_only:true") && !strings.Contains(sent, "can_push:false") && !strings.Contains(sent, "permission:REPO_READ") {
				t.Errorf("the key may push: %s", sent)
			}
			s.repo, r.Personal = false, true
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
			s := newServer(t, tt.api)
			s.repo = true
			for i := range 2*keysOnAPage + 1 {
				s.keys = append(s.keys, fmt.Sprintf("ssh-ed25519 AAAA%d", i))
			}
			s.keys = append(s.keys, public)
			host, err := tt.open(Options{Hostname: s.URL, Token: "t0ken", Client: s.Client()})
			if err != nil {
				t.Fatal(err)
			}
			r := Repository{Owner: "team", Name: "fleet"}
			if added, err := host.Deploy(t.Context(), r, Key{Title: "hub", Public: public}); err != nil || added || len(s.keys) != 2*keysOnAPage+2 {
				t.Errorf("added %v, %v: %d keys", added, err, len(s.keys))
			}
			s.keys = s.keys[:2*keysOnAPage] // full pages, and nothing behind them
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
			s := newServer(t, func(s *server, h http.Header, r *http.Request, body map[string]any) (int, any) {
				if strings.HasSuffix(r.URL.Path, "/ann/fleet") {
					return http.StatusNotFound, map[string]any{"message": "not found"}
				}
				return tt.api(s, h, r, body)
			})
			host, err := tt.open(Options{Hostname: s.URL, Token: "t0ken", Client: s.Client()})
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = host.Ensure(t.Context(), Repository{Owner: "ann", Name: "fleet", Personal: true})
			if !errors.Is(err, ErrOtherUser) || !strings.Contains(strings.ToLower(err.Error()), "it is of team, and the owner is to be ann") || len(s.made) > 0 {
				t.Errorf("%v, made %v", err, s.made)
			}
		})
	}
}

// TestTokenFollowsNoRedirectToAnotherServer, whichever way the library puts it into requests.
func TestTokenFollowsNoRedirectToAnotherServer(t *testing.T) {
	for name, tt := range hosts {
		t.Run(name, func(t *testing.T) {
			asked := false
			other := newServer(t, func(s *server, h http.Header, r *http.Request, body map[string]any) (int, any) {
				asked = true
				return tt.api(s, h, r, body)
			})
			to := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
			first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, to+r.URL.Path, http.StatusTemporaryRedirect)
			}))
			t.Cleanup(first.Close)
			host, err := tt.open(Options{Hostname: first.URL, Token: "t0ken", Client: first.Client()})
			if err == nil {
				_, _, err = host.Ensure(t.Context(), Repository{Owner: "team", Name: "fleet"})
			}
			if !errors.Is(err, ErrRedirected) || asked {
				t.Errorf("asked %v, %v", asked, err)
			}
			if err != nil && strings.Contains(err.Error(), "t0ken") {
				t.Errorf("the token is in the error: %v", err)
			}
		})
	}
}

// TestRedirectOnOneServerIsFollowed, as GitHub answers for a repository that was renamed.
func TestRedirectOnOneServerIsFollowed(t *testing.T) {
	s := newServer(t, gitHubAPI)
	s.repo = true
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
