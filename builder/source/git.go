package source

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// Git names files of a git repository.
type Git struct {
	// Remote is what git is given: a URL, or user@host:path.
	Remote string
	// Ref is a branch, a tag, a full ref or a commit; empty is the remote's HEAD.
	Ref string
	// Subdir is the folder of the repository that counts, "" for all.
	Subdir string
	// Checksum is the commit, or its beginning, that Ref must be.
	Checksum string
	// KeepGitDir keeps .git; nil where the URL does not say.
	KeepGitDir *bool
	// Submodules fetches them too; nil means true.
	Submodules *bool
	// CommitTime gives all files the commit's time (mtime=commit), for contexts.
	CommitTime bool
	// FetchByCommit fetches Checksum itself, not Ref.
	FetchByCommit bool
}

// ErrNotGit is a text that does not name a git repository.
var ErrNotGit = errors.New("not a git repository")

// ParseGit reads a repository's address: a URL with the scheme ssh or git, http or https with a path that ends in .git,
// or user@host:path; then #ref:subdir, or a query of ref, tag, branch, subdir, checksum (commit), keep-git-dir,
// submodules, mtime and fetch-by-commit.
func ParseGit(s string) (*Git, error) {
	if strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") || strings.HasPrefix(s, "/") {
		return nil, ErrNotGit
	}
	g := &Git{}
	rest, fragment, _ := strings.Cut(s, "#")
	rest, rawQuery, _ := strings.Cut(rest, "?")
	if !g.remote(rest) {
		return nil, ErrNotGit
	}
	var subdir string
	g.Ref, subdir, _ = strings.Cut(fragment, ":")
	g.Subdir = subdir
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, fmt.Errorf("read query of git repository: %w", err)
	}
	if err := g.query(query); err != nil {
		return nil, err
	}
	written := g.Subdir
	if g.Subdir, err = inside(written); err != nil {
		return nil, fmt.Errorf("subdir %q leads out of the repository", written)
	}
	return g, g.check()
}

func (g *Git) remote(s string) bool {
	g.Remote = s
	scheme, _, ok := strings.Cut(s, "://")
	if !ok {
		user, hostPath, ok := strings.Cut(s, "@")
		host, p, ok2 := strings.Cut(hostPath, ":")
		return ok && ok2 && user != "" && host != "" && p != "" && !strings.ContainsAny(user+host, "/ ")
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return false
	}
	switch strings.ToLower(scheme) {
	case "http", "https":
		return strings.HasSuffix(u.Path, ".git")
	case "ssh", "git":
		return true
	}
	return false
}

func (g *Git) query(q url.Values) error {
	var tag, branch string
	for k, vs := range q {
		if len(vs) != 1 {
			return fmt.Errorf("query %q has multiple values", k)
		}
		v := vs[0]
		flag := k == "keep-git-dir" || k == "submodules" || k == "fetch-by-commit"
		if v == "" && !flag {
			return fmt.Errorf("query %q has no value", k)
		}
		var err error
		switch k {
		case "ref":
			err = setOnce(&g.Ref, v, "ref")
		case "tag":
			tag = "refs/tags/" + strings.TrimPrefix(v, "refs/tags/")
		case "branch":
			branch = "refs/heads/" + strings.TrimPrefix(v, "refs/heads/")
		case "subdir":
			err = setOnce(&g.Subdir, v, "subdir")
		case "checksum", "commit":
			err = setOnce(&g.Checksum, v, "checksum")
		case "mtime":
			if v != "checkout" && v != "commit" {
				err = fmt.Errorf("invalid mtime value: %q (must be \"checkout\" or \"commit\")", v)
			}
			g.CommitTime = v == "commit"
		case "keep-git-dir", "submodules", "fetch-by-commit":
			err = g.flag(k, v)
		default:
			err = fmt.Errorf("unexpected query %q", k)
		}
		if err != nil {
			return err
		}
	}
	if tag != "" && branch != "" {
		return errors.New("branch conflicts with tag")
	}
	if tag+branch != "" {
		return setOnce(&g.Ref, tag+branch, "ref")
	}
	return nil
}

func (g *Git) flag(k, v string) error {
	on := true
	if v != "" {
		var err error
		if on, err = strconv.ParseBool(v); err != nil {
			return fmt.Errorf("invalid %s value: %q", k, v)
		}
	}
	switch k {
	case "keep-git-dir":
		g.KeepGitDir = &on
	case "submodules":
		g.Submodules = &on
	default:
		g.FetchByCommit = on
	}
	return nil
}

func setOnce(to *string, v, what string) error {
	if *to != "" && *to != v {
		return fmt.Errorf("%s conflicts: %q vs %q", what, *to, v)
	}
	*to = v
	return nil
}

// IsCommit says whether the reference is a commit's full name, so that it can never mean anything else.
func (g *Git) IsCommit() bool {
	return (len(g.Ref) == 40 || len(g.Ref) == 64) && strings.Trim(g.Ref, "0123456789abcdef") == ""
}

// check refuses what git could take for an option or for two refs.
func (g *Git) check() error {
	if strings.HasPrefix(g.Remote, "-") {
		return fmt.Errorf("git repository %q looks like an option", g.Remote)
	}
	if strings.HasPrefix(g.Ref, "-") || strings.HasPrefix(g.Ref, "+") || strings.ContainsAny(g.Ref, ":^~?*[\\ \t\n\x00\x7f") || strings.Contains(g.Ref, "..") {
		return fmt.Errorf("git reference %q is not valid", g.Ref)
	}
	if strings.Trim(g.Checksum, "0123456789abcdef") != "" || g.Checksum != "" && len(g.Checksum) < 7 {
		return fmt.Errorf("git checksum %q is not a commit", g.Checksum)
	}
	if strings.ContainsFunc(g.Remote, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("git repository %q holds a control character", g.Remote)
	}
	return nil
}

// Redacted is the address without a password, for keys, messages and history.
func (g *Git) Redacted() string {
	s := g.Remote
	if u, err := url.Parse(s); err == nil && u.User != nil {
		u.User = url.User(u.User.Username())
		s = u.String()
	}
	if g.Ref+g.Subdir == "" {
		return s
	}
	return s + "#" + strings.TrimSuffix(g.Ref+":"+g.Subdir, ":")
}

// ShortName is the repository's name: bar for https://host/foo/bar.git.
func (g *Git) ShortName() string {
	p := g.Remote[strings.LastIndexByte(g.Remote, ':')+1:]
	return strings.TrimSuffix(path.Base(p), ".git")
}
