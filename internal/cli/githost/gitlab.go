package githost

import (
	"context"
	"fmt"
	"net/http"

	gitlab "gitlab.com/gitlab-org/api/client-go"
)

type gitLab struct{ client *gitlab.Client }

// GitLab is gitlab.com, or a server of one's own.
func GitLab(o Options) (Host, error) {
	url := base(o.Hostname, "gitlab.com")
	over, err := o.client(url)
	if err != nil {
		return nil, err
	}
	client, err := gitlab.NewClient(o.Token, gitlab.WithBaseURL(url), gitlab.WithHTTPClient(over), gitlab.WithCustomRetryMax(1))
	if err != nil {
		return nil, fmt.Errorf("the host name cannot be used: %w", err)
	}
	return &gitLab{client}, nil
}

func answered(r *gitlab.Response) int {
	if r == nil || r.Response == nil {
		return 0
	}
	return r.StatusCode
}

func (h *gitLab) Ensure(ctx context.Context, r Repository) (URLs, bool, error) {
	found, answer, err := h.client.Projects.GetProject(r.Owner+"/"+r.Name, nil, gitlab.WithContext(ctx))
	made := answered(answer) == http.StatusNotFound
	if made {
		want, unfit := h.wanted(ctx, r)
		if unfit != nil {
			return URLs{}, false, unfit
		}
		found, answer, err = h.client.Projects.CreateProject(want, gitlab.WithContext(ctx))
	}
	if err != nil {
		return URLs{}, false, explain("make the project", answered(answer), err)
	}
	return URLs{HTTPS: found.HTTPURLToRepo, SSH: "ssh://" + sshURL(found.SSHURLToRepo)}, made, nil
}

// wanted is the project to be made: of the group, or of the user that the token is of.
func (h *gitLab) wanted(ctx context.Context, r Repository) (*gitlab.CreateProjectOptions, error) {
	visibility := gitlab.PrivateVisibility
	if !r.Private {
		visibility = gitlab.PublicVisibility
	}
	want := &gitlab.CreateProjectOptions{Name: &r.Name, Path: &r.Name, Visibility: &visibility, Description: &r.Description}
	if r.Personal {
		user, answer, err := h.client.Users.CurrentUser(gitlab.WithContext(ctx))
		if err != nil {
			return nil, explain("ask whose token it is", answered(answer), err)
		}
		return want, checkUser(r.Owner, user.Username)
	}
	group, answer, err := h.client.Groups.GetGroup(r.Owner, nil, gitlab.WithContext(ctx))
	if err != nil {
		return nil, explain("find the group "+r.Owner, answered(answer), err)
	}
	want.NamespaceID = &group.ID
	return want, nil
}

func (h *gitLab) Grant(ctx context.Context, r Repository, teams []string) error {
	for _, team := range teams {
		group, answer, err := h.client.Groups.GetGroup(team, nil, gitlab.WithContext(ctx))
		if err != nil {
			return explain("find the group "+team, answered(answer), err)
		}
		access := gitlab.MaintainerPermissions
		answer, err = h.client.Projects.ShareProjectWithGroup(r.Owner+"/"+r.Name, &gitlab.ShareWithGroupOptions{GroupID: &group.ID, GroupAccess: &access}, gitlab.WithContext(ctx))
		if err != nil && answered(answer) != http.StatusConflict {
			return explain("give group "+team+" access", answered(answer), err)
		}
	}
	return nil
}

func (h *gitLab) Deploy(ctx context.Context, r Repository, k Key) (bool, error) {
	project := r.Owner + "/" + r.Name
	list := &gitlab.ListProjectDeployKeysOptions{ListOptions: gitlab.ListOptions{Page: 1, PerPage: 100}}
	for list.Page != 0 {
		keys, answer, err := h.client.DeployKeys.ListProjectDeployKeys(project, list, gitlab.WithContext(ctx))
		if err != nil {
			return false, explain("list the deploy keys", answered(answer), err)
		}
		for _, has := range keys {
			if same(has.Key, k.Public) {
				return false, nil
			}
		}
		list.Page = answer.NextPage
	}
	push := !k.ReadOnly
	_, answer, err := h.client.DeployKeys.AddDeployKey(project, &gitlab.AddDeployKeyOptions{Title: &k.Title, Key: &k.Public, CanPush: &push}, gitlab.WithContext(ctx))
	return err == nil, explain("add a deploy key", answered(answer), err)
}
