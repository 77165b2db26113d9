package hostapi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// numbered is the page that is asked for.
func numbered(r *http.Request) int {
	n, _ := strconv.Atoi(r.URL.Query().Get("page"))
	return max(n, 1)
}

// text and flag are what a body has under a key.
func text(body map[string]any, key string) string { s, _ := body[key].(string); return s }

func flag(body map[string]any, key string) bool { b, _ := body[key].(bool); return b }

// unknown is the answer to what no bootstrap asks for.
func unknown(r *http.Request) (int, any) {
	return http.StatusTeapot, map[string]any{"message": r.Method + " " + r.URL.Path}
}

func gitHub(s *Server, h http.Header, r *http.Request, body map[string]any) (int, any) {
	repo := map[string]any{"clone_url": s.https(), "ssh_url": s.ssh("git@ghe.example:team/fleet.git")}
	switch r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api/v3") {
	case "GET /repos/team/fleet":
		if !s.made {
			return http.StatusNotFound, map[string]any{"message": "Not Found"}
		}
		return http.StatusOK, repo
	case "POST /orgs/team/repos", "POST /user/repos":
		s.made = true
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
		return s.add(text(body, "key"), flag(body, "read_only")), map[string]any{"id": 1}
	}
	return unknown(r)
}

func gitLab(s *Server, h http.Header, r *http.Request, body map[string]any) (int, any) {
	repo := map[string]any{"id": 1, "http_url_to_repo": s.https(), "ssh_url_to_repo": s.ssh("git@gitlab.example:team/fleet.git")}
	switch r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api/v4") {
	case "GET /projects/team/fleet":
		if !s.made {
			return http.StatusNotFound, map[string]any{"message": "404 Project Not Found"}
		}
		return http.StatusOK, repo
	case "GET /groups/team", "GET /groups/ops":
		return http.StatusOK, map[string]any{"id": 7}
	case "POST /projects":
		s.made = true
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
		return s.add(text(body, "key"), !flag(body, "can_push")), map[string]any{"id": 1}
	}
	return unknown(r)
}

func gitea(s *Server, _ http.Header, r *http.Request, body map[string]any) (int, any) {
	repo := map[string]any{"id": 1, "clone_url": s.https(), "ssh_url": s.ssh("ssh://git@gitea.example:2222/team/fleet.git")}
	switch r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api/v1") {
	case "GET /version":
		return http.StatusOK, map[string]any{"version": "1.24.0"}
	case "GET /repos/team/fleet":
		if !s.made {
			return http.StatusNotFound, map[string]any{"message": "not found"}
		}
		return http.StatusOK, repo
	case "POST /org/team/repos", "POST /user/repos", "POST /orgs/team/repos":
		s.made = true
		return http.StatusCreated, repo
	case "PUT /repos/team/fleet/teams/ops":
		return http.StatusNoContent, nil
	case "GET /repos/team/fleet/keys":
		keys, _ := s.page(numbered(r))
		return http.StatusOK, keys
	case "GET /user":
		return http.StatusOK, map[string]any{"id": 1, "login": "team"}
	case "POST /repos/team/fleet/keys":
		return s.add(text(body, "key"), flag(body, "read_only")), map[string]any{"id": 1}
	}
	return unknown(r)
}

// bitbucket has the repository in the project TEAM, which is called "team".
func bitbucket(s *Server, _ http.Header, r *http.Request, body map[string]any) (int, any) {
	answer := func(code int, message string) (int, any) {
		return code, map[string]any{"errors": []any{map[string]any{"context": nil, "message": message}}}
	}
	repo := map[string]any{"slug": "fleet", "id": 1, "project": map[string]any{"key": "TEAM"}, "links": map[string]any{"clone": []any{
		map[string]any{"href": s.ssh("ssh://git@bitbucket.example:7999/team/fleet.git"), "name": "ssh"},
		map[string]any{"href": strings.Replace(s.https(), "://", "://ann@", 1), "name": "http"},
	}}}
	switch r.Method + " " + strings.TrimPrefix(r.URL.Path, "/rest") {
	case "GET /api/1.0/projects/team":
		return answer(http.StatusNotFound, "Project team does not exist.")
	case "GET /api/1.0/projects/TEAM":
		return http.StatusOK, map[string]any{"key": "TEAM", "name": "team"}
	case "GET /api/1.0/projects":
		return http.StatusOK, map[string]any{"isLastPage": true, "values": []any{map[string]any{"key": "OTHER", "name": "Team B"}, map[string]any{"key": "TEAM", "name": "team"}}}
	case "GET /api/1.0/projects/TEAM/repos/fleet", "GET /api/1.0/projects/~team/repos/fleet":
		if !s.made {
			return answer(http.StatusNotFound, "Repository TEAM/fleet does not exist.")
		}
		return http.StatusOK, repo
	case "POST /api/1.0/projects/TEAM/repos", "POST /api/1.0/projects/~team/repos":
		s.made = true
		return http.StatusCreated, repo
	case "PUT /api/1.0/projects/TEAM/repos/fleet/permissions/groups":
		if r.URL.Query().Get("name") == "ops" && r.URL.Query().Get("permission") == "REPO_WRITE" {
			return http.StatusNoContent, nil
		}
	case "GET /keys/1.0/projects/TEAM/repos/fleet/ssh":
		return http.StatusOK, s.bitbucketKeys(r)
	case "POST /keys/1.0/projects/TEAM/repos/fleet/ssh":
		key, _ := body["key"].(map[string]any)
		return s.add(text(key, "text"), body["permission"] == "REPO_READ"), map[string]any{"permission": body["permission"]}
	}
	return answer(http.StatusTeapot, r.Method+" "+r.URL.Path)
}

func (s *Server) bitbucketKeys(r *http.Request) any {
	start, _ := strconv.Atoi(r.URL.Query().Get("start"))
	keys, last := s.page(start/KeysOnAPage + 1)
	values := []any{}
	for _, k := range keys {
		values = append(values, map[string]any{"key": map[string]any{"id": 1, "text": k["key"], "label": "hub"}, "permission": "REPO_READ"})
	}
	answer := map[string]any{"size": len(keys), "limit": KeysOnAPage, "start": start, "isLastPage": last, "values": values, "nextPageStart": nil}
	if !last {
		answer["nextPageStart"] = start + KeysOnAPage
	}
	return answer
}
