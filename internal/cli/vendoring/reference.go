package vendoring

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"path"
	"strings"
)

// reference is what a remote reference of a kustomization names: a file at a URL, or a directory of a Git
// repository.
type reference struct {
	File string // URL; empty for a repository
	// Repository is its URL, Path a directory in it, and Ref a branch, tag or commit; empty for HEAD.
	Repository, Path, Ref string
	// SSH is the ssh URL of the repository, where it is named by one.
	SSH string
}

// parse reads a reference as kustomize does. file means that the field names a file and never a directory.
func parse(ref string, file bool) (reference, error) {
	rest := ref
	for strings.HasPrefix(strings.ToLower(rest), "git::") {
		rest = rest[len("git::"):]
	}
	rest, query, _ := strings.Cut(rest, "?")
	scheme, rest, found := strings.Cut(rest, "://")
	if !found {
		scheme, rest = "", scheme
	}
	scheme = strings.ToLower(scheme)
	if scheme == "" && strings.HasPrefix(strings.ToLower(rest), "github.com") {
		scheme = "https"
		rest = strings.Replace(rest, ":", "/", 1)
	}
	if user, host, scp := strings.Cut(rest, "@"); scp && scheme == "" && !strings.Contains(user, "/") {
		scheme, rest = "ssh", user+"@"+strings.Replace(host, ":", "/", 1)
	}
	host, below, _ := strings.Cut(rest, "/")
	switch {
	case strings.Contains(host, "@") && scheme != "ssh":
		return reference{}, fmt.Errorf("it holds credentials: take them out of the reference")
	case scheme != "https" && scheme != "http" && scheme != "ssh", host == "", below == "":
		return reference{}, fmt.Errorf("it is neither a file nor a Git repository that can be fetched")
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return reference{}, fmt.Errorf("its query cannot be read")
	}
	if file || scheme != "ssh" && !values.Has("ref") && !values.Has("version") && isFile(host, below) {
		u := scheme + "://" + rest
		if query != "" {
			u += "?" + query
		}
		return reference{File: u}, nil
	}
	repository, dir := split(below)
	ssh := ""
	if scheme == "ssh" { // a public repository is read without a login
		ssh = "ssh://" + host + "/" + repository
		host = host[strings.LastIndex(host, "@")+1:]
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name // the port is that of SSH
		}
		scheme = "https"
	}
	dir = path.Clean("/" + dir)[1:]
	at := values.Get("ref")
	if at == "" {
		at = values.Get("version")
	}
	return reference{Repository: scheme + "://" + host + "/" + repository, Path: dir, Ref: at, SSH: ssh}, nil
}

// isFile reports whether a URL without a marker of a repository is that of a file, by what it looks like:
// kustomize asks for it and clones when it gets no YAML.
func isFile(host, below string) bool {
	if strings.Contains(below, "//") || strings.Contains(below, ".git/") || strings.HasSuffix(below, ".git") || strings.Contains(below, "_git/") {
		return false
	}
	return host != "github.com" || path.Ext(below) == ".yaml" || path.Ext(below) == ".yml" || path.Ext(below) == ".json"
}

// split parts the path of a repository from that of a directory in it.
func split(below string) (repository, dir string) {
	if before, after, found := strings.Cut(below, "_git/"); found {
		name, dir, _ := strings.Cut(after, "/")
		return before + "_git/" + name, dir
	}
	if before, after, found := strings.Cut(below, "//"); found {
		return before, after
	}
	if at := strings.Index(below, ".git"); at >= 0 {
		return below[:at+len(".git")], strings.TrimPrefix(below[at+len(".git"):], "/")
	}
	parts := strings.SplitN(below, "/", 3)
	if len(parts) == 3 {
		dir = parts[2]
	}
	return strings.Join(parts[:min(2, len(parts))], "/"), dir
}

// folder is where a copy goes, below the directory of the kustomization that names it. It holds the commit of a
// repository, so that a newer one lies beside it and is reviewed as what it is. A file that is chosen by a query, as
// by ?ref=v1, lies in a folder of that query, of which only a digest is shown: it may hold a credential.
func (r reference) folder(commit string) (string, error) {
	from := r.File
	if from == "" {
		from = strings.TrimSuffix(r.Repository, ".git")
	}
	u, err := url.Parse(from)
	if err != nil || u.Hostname() == "" {
		return "", fmt.Errorf("its address cannot be read")
	}
	host := u.Hostname()
	if u.Port() != "" {
		host += "_" + u.Port()
	}
	name := path.Join(Folder, host, path.Clean("/"+u.Path))
	if commit != "" {
		name += "@" + commit[:12]
	}
	if r.File != "" && u.RawQuery != "" {
		sum := sha256.Sum256([]byte(u.RawQuery))
		name = path.Join(path.Dir(name)+"@"+hex.EncodeToString(sum[:6]), path.Base(name))
	}
	return name, nil
}

// harmless are parameters of a query that choose a version and hold no credentials.
var harmless = []string{"ref", "ref_type", "version", "at"}

// shown is the URL of a file as messages and comments have it.
func shown(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the file"
	}
	values, kept := u.Query(), url.Values{}
	for _, key := range harmless {
		if values.Has(key) {
			kept.Set(key, values.Get(key))
		}
	}
	u.RawQuery, u.User, u.Fragment = kept.Encode(), nil, ""
	return u.String()
}
