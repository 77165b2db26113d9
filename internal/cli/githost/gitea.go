package githost

import (
	"context"
	"fmt"
	"net/http"

	"code.gitea.io/sdk/gitea"
)

type giteaHost struct {
	Options
	over *http.Client
}

// maxPages bounds the pages of deploy keys, of a server that sends the same one for ever.
const maxPages = 1000

// Gitea is a server of Gitea or Forgejo.
func Gitea(o Options) (Host, error) {
	if o.Hostname == "" {
		o.Hostname = "gitea.com"
	}
	over, err := o.client(base(o.Hostname, ""))
	if err != nil {
		return nil, err
	}
	return &giteaHost{o, over}, nil
}

// connect returns a client for one call, as the library binds the context to the client.
func (h *giteaHost) connect(ctx context.Context) (*gitea.Client, error) {
	client, err := gitea.NewClient(base(h.Hostname, ""), gitea.SetToken(h.Token), gitea.SetHTTPClient(h.over), gitea.SetContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("cannot ask the server: %w", err)
	}
	return client, nil
}

func statusCode(r *gitea.Response) int {
	if r == nil || r.Response == nil {
		return 0
	}
	return r.StatusCode
}

func (h *giteaHost) Ensure(ctx context.Context, r Repository) (URLs, bool, error) {
	client, err := h.connect(ctx)
	if err != nil {
		return URLs{}, false, err
	}
	found, answer, err := client.GetRepo(r.Owner, r.Name)
	made := false
	if statusCode(answer) == http.StatusNotFound {
		made = true
		want := gitea.CreateRepoOption{Name: r.Name, Private: r.Private, Description: r.Description}
		if r.Personal {
			if err := giteaUser(client, r.Owner); err != nil {
				return URLs{}, false, err
			}
			found, answer, err = client.CreateRepo(want)
		} else {
			found, answer, err = client.CreateOrgRepo(r.Owner, want)
		}
	}
	if err != nil {
		return URLs{}, false, explain("make the repository", statusCode(answer), err)
	}
	return URLs{HTTPS: found.CloneURL, SSH: "ssh://" + sshURL(found.SSHURL)}, made, nil
}

// giteaUser refuses a token of another user.
func giteaUser(client *gitea.Client, owner string) error {
	user, answer, err := client.GetMyUserInfo()
	if err != nil {
		return explain("ask whose token it is", statusCode(answer), err)
	}
	return checkUser(owner, user.UserName)
}

func (h *giteaHost) Grant(ctx context.Context, r Repository, teams []string) error {
	client, err := h.connect(ctx)
	if err != nil {
		return err
	}
	for _, team := range teams {
		if answer, err := client.AddRepoTeam(r.Owner, r.Name, team); err != nil {
			return explain("give team "+team+" access", statusCode(answer), err)
		}
	}
	return nil
}

func (h *giteaHost) Deploy(ctx context.Context, r Repository, k Key) (bool, error) {
	client, err := h.connect(ctx)
	if err != nil {
		return false, err
	}
	for page := 1; page <= maxPages; page++ {
		keys, answer, err := client.ListDeployKeys(r.Owner, r.Name, gitea.ListDeployKeysOptions{ListOptions: gitea.ListOptions{Page: page, PageSize: 50}})
		if err != nil {
			return false, explain("list the deploy keys", statusCode(answer), err)
		}
		for _, has := range keys {
			if same(has.Key, k.Public) {
				return false, nil
			}
		}
		if len(keys) == 0 { // a server may send fewer on a page than it is asked for
			break
		}
	}
	_, answer, err := client.CreateDeployKey(r.Owner, r.Name, gitea.CreateKeyOption{Title: k.Title, Key: k.Public, ReadOnly: k.ReadOnly})
	return err == nil, explain("add a deploy key", statusCode(answer), err)
}
