package githost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// maxAnswer bounds one answer of the API, in bytes.
const maxAnswer = 4 << 20

// bitbucketServer asks Bitbucket Data Center by its REST API 1.0. There is no Go client of it that is kept.
type bitbucketServer struct {
	base, token string
	over        *http.Client
}

// BitbucketServer is Bitbucket Data Center, formerly Bitbucket Server. The owner of a repository is the key of a
// project, or its name; that of a personal one is a user. Teams are groups.
func BitbucketServer(o Options) (Host, error) {
	if o.Hostname == "" {
		return nil, errors.New("a host name is needed: there is no public server")
	}
	server := base(o.Hostname, "")
	over, err := o.client(server)
	if err != nil {
		return nil, err
	}
	return &bitbucketServer{server + "/rest", o.Token, over}, nil
}

// bitbucketError is the body of the API's answer to a request that it refuses.
type bitbucketError struct {
	status int
	words  string
}

func (e *bitbucketError) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("the server answers %d %s: %s", e.status, http.StatusText(e.status), e.words), ": ")
}

// statusOf is the status of an answer that is an error; 0 of none.
func statusOf(err error) int {
	if e, ok := errors.AsType[*bitbucketError](err); ok {
		return e.status
	}
	return 0
}

// call sends a request and reads the answer into out, unless it is nil.
func (h *bitbucketServer) call(ctx context.Context, method, at string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("cannot encode a request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, h.base+at, body)
	if err != nil {
		return fmt.Errorf("cannot make a request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+h.token)
	req.Header.Set("Accept", "application/json")
	// Without it the server refuses what browsers might be made to send.
	req.Header.Set("X-Atlassian-Token", "no-check")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := h.over.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("cannot read the answer: %w", err)
	}
	if res.StatusCode/100 != 2 {
		return refusal(res.StatusCode, data)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("the answer is not that of Bitbucket's API: %w", err)
	}
	return nil
}

// refusal reads why a request was refused.
func refusal(status int, data []byte) error {
	var answer struct {
		Errors []struct{ Message string }
	}
	e := &bitbucketError{status: status}
	if json.Unmarshal(data, &answer) == nil && len(answer.Errors) > 0 {
		e.words = answer.Errors[0].Message
	}
	return e
}

// bitbucketRepository is a repository in the API's answers.
type bitbucketRepository struct {
	Links struct {
		Clone []struct{ Href, Name string }
	}
}

// urls are those under which it can be cloned; a server may have either way switched off.
func (r *bitbucketRepository) urls() URLs {
	var u URLs
	for _, link := range r.Links.Clone {
		switch link.Name {
		case "http", "https":
			// Older servers put the name of the user in front of the host.
			u.HTTPS = withoutUser(link.Href)
		case "ssh":
			u.SSH = "ssh://" + sshURL(link.Href)
		}
	}
	return u
}

func withoutUser(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text // which CheckClone refuses
	}
	if _, secret := u.User.Password(); !secret {
		u.User = nil
	}
	return u.String()
}

// project is the path of the owner: that of a project, by its key or its name, or of a user.
func (h *bitbucketServer) project(ctx context.Context, r Repository) (string, error) {
	if r.Personal {
		return "/projects/~" + url.PathEscape(strings.TrimPrefix(r.Owner, "~")), nil
	}
	at := "/projects/" + url.PathEscape(r.Owner)
	err := h.call(ctx, http.MethodGet, "/api/1.0"+at, nil, nil)
	if statusOf(err) != http.StatusNotFound {
		return at, explain("find the project "+r.Owner, statusOf(err), err)
	}
	var found struct {
		Values []struct{ Key, Name string }
	}
	if err := h.call(ctx, http.MethodGet, "/api/1.0/projects?limit=1000&name="+url.QueryEscape(r.Owner), nil, &found); err != nil {
		return "", explain("find the project "+r.Owner, statusOf(err), err)
	}
	for _, p := range found.Values {
		if strings.EqualFold(p.Name, r.Owner) { // the API finds those that have it in their name
			return "/projects/" + url.PathEscape(p.Key), nil
		}
	}
	return "", explain("find the project "+r.Owner, http.StatusNotFound, err)
}

// at is the path of the repository.
func (h *bitbucketServer) at(ctx context.Context, r Repository) (string, error) {
	project, err := h.project(ctx, r)
	return project + slug(r), err
}

// notInSlug is what a slug does not have: the server makes it of a name in this way.
var notInSlug = regexp.MustCompile(`[^a-z0-9._-]+`)

// slug is the end of a repository's path.
func slug(r Repository) string {
	return "/repos/" + url.PathEscape(notInSlug.ReplaceAllString(strings.ToLower(r.Name), "-"))
}

func (h *bitbucketServer) Ensure(ctx context.Context, r Repository) (URLs, bool, error) {
	project, err := h.project(ctx, r)
	if err != nil {
		return URLs{}, false, err
	}
	found := &bitbucketRepository{}
	err = h.call(ctx, http.MethodGet, "/api/1.0"+project+slug(r), nil, found)
	made := statusOf(err) == http.StatusNotFound
	if made {
		want := map[string]any{"name": r.Name, "scmId": "git", "description": r.Description, "public": !r.Private}
		err = h.call(ctx, http.MethodPost, "/api/1.0"+project+"/repos", want, found)
	}
	if err != nil {
		return URLs{}, false, explain("make the repository", statusOf(err), err)
	}
	return found.urls(), made, nil
}

func (h *bitbucketServer) Grant(ctx context.Context, r Repository, teams []string) error {
	if len(teams) == 0 {
		return nil
	}
	at, err := h.at(ctx, r)
	if err != nil {
		return err
	}
	for _, group := range teams {
		to := "/api/1.0" + at + "/permissions/groups?permission=REPO_WRITE&name=" + url.QueryEscape(group)
		if err := h.call(ctx, http.MethodPut, to, nil, nil); err != nil {
			return explain("give group "+group+" access", statusOf(err), err)
		}
	}
	return nil
}

func (h *bitbucketServer) Deploy(ctx context.Context, r Repository, k Key) (bool, error) {
	at, err := h.at(ctx, r)
	if err != nil {
		return false, err
	}
	at = "/keys/1.0" + at + "/ssh"
	for start, pages := 0, 0; pages < maxPages; pages++ {
		var page struct {
			Values []struct {
				Key struct{ Text string }
			}
			IsLastPage    bool
			NextPageStart int
		}
		if err := h.call(ctx, http.MethodGet, at+"?limit=100&start="+strconv.Itoa(start), nil, &page); err != nil {
			return false, explain("list the access keys", statusOf(err), err)
		}
		for _, has := range page.Values {
			if same(has.Key.Text, k.Public) {
				return false, nil
			}
		}
		if start = page.NextPageStart; page.IsLastPage || start == 0 {
			break
		}
	}
	permission := "REPO_WRITE"
	if k.ReadOnly {
		permission = "REPO_READ"
	}
	want := map[string]any{"permission": permission, "key": map[string]any{"text": k.Public, "label": k.Title}}
	err = h.call(ctx, http.MethodPost, at, want, nil)
	return err == nil, explain("add an access key", statusOf(err), err)
}
