package githost

import (
	"context"
	"fmt"
	"net/http"

	"github.com/google/go-github/v84/github"
)

type gitHub struct{ client *github.Client }

// GitHub is github.com, or a GitHub Enterprise Server.
func GitHub(o Options) (Host, error) {
	url := base(o.Hostname, "github.com")
	over, err := o.client(url)
	if err != nil {
		return nil, err
	}
	client := github.NewClient(over).WithAuthToken(o.Token)
	if url == "https://github.com" {
		return &gitHub{client}, nil
	}
	client, err = client.WithEnterpriseURLs(url, url)
	if err != nil {
		return nil, fmt.Errorf("the host name cannot be used: %w", err)
	}
	return &gitHub{client}, nil
}

func status(r *github.Response) int {
	if r == nil || r.Response == nil {
		return 0
	}
	return r.StatusCode
}

func (h *gitHub) Ensure(ctx context.Context, r Repository) (URLs, bool, error) {
	found, answer, err := h.client.Repositories.Get(ctx, r.Owner, r.Name)
	made := false
	if status(answer) == http.StatusNotFound {
		organization := r.Owner
		if r.Personal {
			organization = ""
			if err := h.checkUser(ctx, r.Owner); err != nil {
				return URLs{}, false, err
			}
		}
		made = true
		found, answer, err = h.client.Repositories.Create(ctx, organization, &github.Repository{Name: &r.Name, Private: &r.Private, Description: &r.Description})
	}
	if err != nil {
		return URLs{}, false, explain("make the repository", status(answer), err)
	}
	return URLs{HTTPS: found.GetCloneURL(), SSH: "ssh://" + sshURL(found.GetSSHURL())}, made, nil
}

// checkUser refuses a token of another user.
func (h *gitHub) checkUser(ctx context.Context, owner string) error {
	user, answer, err := h.client.Users.Get(ctx, "")
	if err != nil {
		return explain("ask whose token it is", status(answer), err)
	}
	return checkUser(owner, user.GetLogin())
}

func (h *gitHub) Grant(ctx context.Context, r Repository, teams []string) error {
	for _, team := range teams {
		answer, err := h.client.Teams.AddTeamRepoBySlug(ctx, r.Owner, team, r.Owner, r.Name, &github.TeamAddTeamRepoOptions{Permission: "maintain"})
		if err != nil {
			return explain("give team "+team+" access", status(answer), err)
		}
	}
	return nil
}

func (h *gitHub) Deploy(ctx context.Context, r Repository, k Key) (bool, error) {
	for page := 1; page != 0; {
		keys, answer, err := h.client.Repositories.ListKeys(ctx, r.Owner, r.Name, &github.ListOptions{Page: page, PerPage: 100})
		if err != nil {
			return false, explain("list the deploy keys", status(answer), err)
		}
		for _, has := range keys {
			if same(has.GetKey(), k.Public) {
				return false, nil
			}
		}
		page = answer.NextPage
	}
	_, answer, err := h.client.Repositories.CreateKey(ctx, r.Owner, r.Name, &github.Key{Title: &k.Title, Key: &k.Public, ReadOnly: &k.ReadOnly})
	return err == nil, explain("add a deploy key", status(answer), err)
}
