package git

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestURLGrammar holds what is asked of which server, in the forms that servers show beside "clone".
func TestURLGrammar(t *testing.T) {
	for url, want := range map[string]endpoint{
		"https://github.com/org/fleet":                              {scheme: "https", host: "github.com", path: "/org/fleet"},
		"HTTPS://Git.Example:8443/a/fleet.git":                      {scheme: "https", host: "Git.Example", port: "8443", path: "/a/fleet.git"},
		"https://dev.azure.com/org/My%20Project/_git/fleet":         {scheme: "https", host: "dev.azure.com", path: "/org/My%20Project/_git/fleet"},
		"https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/f": {scheme: "https", host: "git-codecommit.eu-west-1.amazonaws.com", path: "/v1/repos/f"},
		"git@github.com:org/fleet.git":                              {scheme: "ssh", user: "git", host: "github.com", path: "org/fleet.git"},
		"git@ssh.dev.azure.com:v3/org/My%20Project/fleet":           {scheme: "ssh", user: "git", host: "ssh.dev.azure.com", path: "v3/org/My%20Project/fleet"},
		"ssh://git@ssh.dev.azure.com/v3/org/My%20Project/fleet":     {scheme: "ssh", user: "git", host: "ssh.dev.azure.com", path: "/v3/org/My Project/fleet"},
		"ssh://APKAEXAMPLE@git-codecommit.eu-west-1.amazonaws.com/v1/repos/f": {
			scheme: "ssh", user: "APKAEXAMPLE", host: "git-codecommit.eu-west-1.amazonaws.com", path: "/v1/repos/f"},
		"ssh://ann@review.example:29418/fleet": {scheme: "ssh", user: "ann", host: "review.example", port: "29418", path: "/fleet"}, // Gerrit
		"ssh://git@[2001:db8::1]:7999/team/f":  {scheme: "ssh", user: "git", host: "2001:db8::1", port: "7999", path: "/team/f"},    // Bitbucket
		"git@[2001:db8::1]:team/f.git":         {scheme: "ssh", user: "git", host: "2001:db8::1", path: "team/f.git"},
		"git@[git.example:2222]:team/f.git":    {scheme: "ssh", user: "git", host: "git.example", port: "2222", path: "team/f.git"},
		"org-123@github.com:org/fleet.git":     {scheme: "ssh", user: "org-123", host: "github.com", path: "org/fleet.git"},
		"git@git.example:/srv/git/f.git":       {scheme: "ssh", user: "git", host: "git.example", path: "/srv/git/f.git"},
		"git@git.example:~ann/f.git":           {scheme: "ssh", user: "git", host: "git.example", path: "~ann/f.git"},
		"ssh://git.example/~ann/f.git":         {scheme: "ssh", user: "git", host: "git.example", path: "~ann/f.git"},
	} {
		got, err := parseURL(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(endpoint{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", url, diff)
		}
	}
}
