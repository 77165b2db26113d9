package githost

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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

func newServer(t *testing.T, routes func(s *server, r *http.Request, body map[string]any) (int, any)) *server {
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
		code, answer := routes(s, r, body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) keyList() []map[string]any {
	out := []map[string]any{}
	for _, k := range s.keys {
		out = append(out, map[string]any{"id": 1, "key": k + " comment"})
	}
	return out
}

func gitHubAPI(s *server, r *http.Request, body map[string]any) (int, any) {
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
		return http.StatusOK, s.keyList()
	case "POST /repos/team/fleet/keys":
		s.keys = append(s.keys, body["key"].(string))
		return http.StatusCreated, map[string]any{"id": 1}
	}
	return http.StatusTeapot, map[string]any{"message": r.Method + " " + r.URL.Path}
}

func gitLabAPI(s *server, r *http.Request, body map[string]any) (int, any) {
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
		return http.StatusOK, s.keyList()
	case "POST /projects/team/fleet/deploy_keys":
		s.keys = append(s.keys, body["key"].(string))
		return http.StatusCreated, map[string]any{"id": 1}
	}
	return http.StatusTeapot, map[string]any{"message": r.Method + " " + r.URL.Path}
}

func giteaAPI(s *server, r *http.Request, body map[string]any) (int, any) {
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
		return http.StatusOK, s.keyList()
	case "POST /repos/team/fleet/keys":
		s.keys = append(s.keys, body["key"].(string))
		return http.StatusCreated, map[string]any{"id": 1}
	}
	return http.StatusTeapot, map[string]any{"message": r.Method + " " + r.URL.Path}
}

func TestHostsMakeWhatIsMissingAndLeaveWhatIsThere(t *testing.T) {
	for name, tt := range map[string]struct {
		api  func(*server, *http.Request, map[string]any) (int, any)
		open func(Options) (Host, error)
		ssh  string
	}{
		"github": {gitHubAPI, GitHub, "ssh://git@ghe.example/team/fleet.git"},
		"gitlab": {gitLabAPI, GitLab, "ssh://git@gitlab.example/team/fleet.git"},
		"gitea":  {giteaAPI, Gitea, "ssh://git@gitea.example:2222/team/fleet.git"},
	} {
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
			if sent := fmt.Sprint(s.made); !strings.Contains(sent, "private:true") && !strings.Contains(sent, "visibility:private") {
				t.Errorf("the repository is not private: %s", sent)
			}
			if sent := fmt.Sprint(s.made); !strings.Contains(sent, "read_only:true") && !strings.Contains(sent, "can_push:false") {
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
