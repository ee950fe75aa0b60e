package source

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"github.com/hodbuild/hod/layers/userns"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// GitOptions say how a repository is fetched.
type GitOptions struct {
	// Tmp is the folder in which the checkout is made.
	Tmp string
	// Token and Header authenticate at the remote's own host: a token, or a whole Authorization value.
	Token, Header string
	// SSHAgent has the keys for repositories that are reached by ssh; nil for none.
	SSHAgent *Agent
	// File allows file:// remotes and paths; for tests.
	File bool
}

// Checkout is a fetched repository: a tree whose files are 0644 or 0755 and root's.
type Checkout struct {
	Files
	// Commit is the full name of what was checked out.
	Commit string
	// Time is when it was committed.
	Time   time.Time
	folder *Folder
	dir    string
}

// Close removes the checkout.
func (c *Checkout) Close() error { return errors.Join(c.folder.Close(), os.RemoveAll(c.dir)) }

// Checkout fetches the repository with the machine's git. No hook, filter, credential helper or configuration of this
// machine or of the repository runs; only https, http, ssh and git are spoken, by submodules too.
func (g *Git) Checkout(ctx context.Context, o GitOptions) (*Checkout, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("fetch %s: git is not installed on this machine", g.Redacted())
	}
	dir, err := os.MkdirTemp(o.Tmp, "git-")
	if err != nil {
		return nil, fmt.Errorf("make folder for git: %w", err)
	}
	r := &repository{git: git, g: g, o: o, work: filepath.Join(dir, "work"), home: filepath.Join(dir, "home")}
	var c *Checkout
	socket, done, err := o.SSHAgent.lead(ctx, filepath.Join(dir, "agent"))
	if err == nil {
		defer done()
		r.agent = socket
		c, err = r.checkout(ctx, dir)
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("fetch %s: %w", g.Redacted(), err)
	}
	return c, nil
}

type repository struct {
	git        string
	g          *Git
	o          GitOptions
	work, home string
	agent      string // the socket of one, or ""
}

func (r *repository) checkout(ctx context.Context, dir string) (*Checkout, error) {
	for _, d := range []string{r.work, r.home} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
	}
	if _, err := r.run(ctx, "init", "--quiet", "--template=", "--initial-branch=main"); err != nil {
		return nil, err
	}
	if err := r.fetch(ctx); err != nil {
		return nil, err
	}
	commit, err := r.verify(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := r.run(ctx, "checkout", "--quiet", "--force", "--detach", commit); err != nil {
		return nil, err
	}
	if err := r.submodules(ctx); err != nil {
		return nil, err
	}
	if err := r.settle(ctx); err != nil {
		return nil, err
	}
	stamp, err := r.run(ctx, "show", "--no-patch", "--format=%ct", commit)
	if err != nil {
		return nil, err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(stamp), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("read commit time: %w", err)
	}
	return r.open(dir, commit, time.Unix(seconds, 0).UTC())
}

// fetch gets the ref with as little history as the server can give.
func (r *repository) fetch(ctx context.Context) error {
	ref := r.g.Ref
	if ref == "" {
		ref = "HEAD"
	}
	if r.g.FetchByCommit && r.g.Checksum != "" {
		ref = r.g.Checksum
	}
	_, err := r.run(ctx, "fetch", "--quiet", "--no-tags", "--depth=1", "--", r.g.Remote, ref)
	if err == nil || ctx.Err() != nil {
		return err
	}
	// Old servers give no single commit, and plain file servers no shallow history.
	_, full := r.run(ctx, "fetch", "--quiet", "--tags", "--force", "--", r.g.Remote, "+refs/heads/*:refs/remotes/origin/*", "+HEAD:refs/hod/head")
	if full != nil {
		return full
	}
	for _, name := range []string{"refs/remotes/origin/" + ref, "refs/tags/" + ref, ref} {
		if ref == "HEAD" {
			name = "refs/hod/head"
		}
		name = strings.Replace(name, "refs/heads/", "refs/remotes/origin/", 1)
		if commit, e := r.run(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", name); e == nil {
			return os.WriteFile(filepath.Join(r.work, ".git", "FETCH_HEAD"), []byte(strings.TrimSpace(commit)+"\n"), 0o644)
		}
	}
	return err
}

func (r *repository) verify(ctx context.Context) (string, error) {
	object, err := r.run(ctx, "rev-parse", "--verify", "FETCH_HEAD")
	if err != nil {
		return "", err
	}
	commit, err := r.run(ctx, "rev-parse", "--verify", "FETCH_HEAD^{commit}")
	if err != nil {
		return "", err
	}
	object, commit = strings.TrimSpace(object), strings.TrimSpace(commit)
	if sum := r.g.Checksum; sum != "" && !strings.HasPrefix(commit, sum) && !strings.HasPrefix(object, sum) {
		return "", fmt.Errorf("expected checksum to match %s, got %s", sum, commit)
	}
	return commit, nil
}

func (r *repository) submodules(ctx context.Context) error {
	if r.g.Submodules != nil && !*r.g.Submodules {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(r.work, ".gitmodules")); err != nil {
		return nil
	}
	_, err := r.run(ctx, "submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")
	return err
}

func (r *repository) keeps() bool { return r.g.KeepGitDir != nil && *r.g.KeepGitDir }

// settle makes a .git that is kept say nothing of this machine and moment: an index made anew has no inodes and times.
func (r *repository) settle(ctx context.Context) error {
	if !r.keeps() {
		return nil
	}
	if err := os.Remove(filepath.Join(r.work, ".git", "index")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := r.run(ctx, "read-tree", "HEAD"); err != nil {
		return err
	}
	_, err := r.run(ctx, "submodule", "--quiet", "foreach", "--recursive", `rm -f "$(git rev-parse --git-dir)/index" && git read-tree HEAD`)
	return err
}

func (r *repository) open(dir, commit string, when time.Time) (*Checkout, error) {
	folder, err := OpenFolder(r.work)
	if err != nil {
		return nil, err
	}
	if r.g.Subdir != "" {
		sub, err := folder.sub(r.g.Subdir)
		folder.Close()
		if err != nil {
			return nil, fmt.Errorf("subdir %q: %w", r.g.Subdir, err)
		}
		folder = sub
	}
	files := Files(gitFiles{folder, when, r.g.CommitTime})
	if !r.keeps() {
		ignore, err := NewIgnore("git", []string{".git", "**/.git"})
		if err != nil {
			return nil, err
		}
		files = Filter(files, ignore)
	}
	return &Checkout{Files: files, Commit: commit, Time: when, folder: folder, dir: dir}, nil
}

// sub opens a folder of the folder, through no link.
func (f *Folder) sub(p string) (*Folder, error) {
	fd, err := f.openat(p, syscall.O_DIRECTORY|0x200000) // O_PATH
	if err != nil {
		return nil, err
	}
	return &Folder{dir: os.NewFile(uintptr(fd), p), name: path.Join(f.name, p)}, nil
}

func (r *repository) run(ctx context.Context, args ...string) (string, error) {
	fixed := []string{
		"-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.autocrlf=false",
		"-c", "core.symlinks=true", "-c", "credential.helper=", "-c", "gc.auto=0", "-c", "advice.detachedHead=false",
		"-c", "submodule.fetchJobs=1", "-c", "init.defaultBranch=main", "-c", "core.logAllRefUpdates=false",
	}
	if r.keeps() { // no pack, whose bytes are the server's choice of the moment
		fixed = append(fixed, "-c", "transfer.unpackLimit=2147483647")
	}
	cmd := exec.CommandContext(ctx, r.git, append(fixed, args...)...)
	cmd.Dir = r.work
	cmd.Env = r.env()
	cmd.SysProcAttr = userns.AsUser(&syscall.SysProcAttr{Setpgid: true}) // whose keys ssh reads
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("git %s: %s", args[0], r.lastLine(errs.String(), err))
	}
	return out.String(), nil
}

func (r *repository) lastLine(s string, err error) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	last := lines[len(lines)-1]
	if last == "" {
		return err.Error()
	}
	if u, e := url.Parse(r.g.Remote); e == nil && u.User != nil {
		if password, ok := u.User.Password(); ok && password != "" {
			last = strings.ReplaceAll(last, password, "xxxxx")
		}
	}
	return last
}

// env is all that git sees of this machine.
func (r *repository) env() []string {
	protocols := "https:http:ssh:git"
	if r.o.File {
		protocols += ":file"
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + r.home, "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1", "GIT_ALLOW_PROTOCOL=" + protocols, "GIT_LFS_SKIP_SMUDGE=1",
		"GIT_ASKPASS=true", "SSH_ASKPASS=true", "GIT_SSH_COMMAND=ssh -o BatchMode=yes", "GIT_PROTOCOL_FROM_USER=0",
	}
	for _, k := range []string{"http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "GIT_SSL_CAINFO"} {
		if v := os.Getenv(k); v != "" {
			env = append(env, k+"="+v)
		}
	}
	if r.agent != "" {
		env = append(env, "SSH_AUTH_SOCK="+r.agent)
	}
	header := r.o.Header
	if header == "" && r.o.Token != "" {
		header = "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+r.o.Token))
	}
	u, err := url.Parse(r.g.Remote)
	if header == "" || err != nil || u.Host == "" {
		return env
	}
	// By environment, since arguments are visible to all users; without redirects, since curl would take the header along.
	origin := u.Scheme + "://" + u.Host + "/"
	return append(env, "GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=http."+origin+".extraheader",
		"GIT_CONFIG_VALUE_0=Authorization: "+header, "GIT_CONFIG_KEY_1=http.followRedirects", "GIT_CONFIG_VALUE_1=false")
}

// gitFiles gives a checkout the modes that git knows: 0755 for folders and programs, 0644 for the rest, whatever the
// umask was.
type gitFiles struct {
	*Folder
	when       time.Time
	commitTime bool
}

// Lstat describes one entry, see [Files].
func (g gitFiles) Lstat(p string) (Entry, error) {
	e, err := g.Folder.Lstat(p)
	return g.plain(e), err
}

// ReadDir lists a folder, see [Files].
func (g gitFiles) ReadDir(p string) ([]Entry, error) {
	list, err := g.Folder.ReadDir(p)
	for i := range list {
		list[i] = g.plain(list[i])
	}
	return list, err
}

func (g gitFiles) plain(e Entry) Entry {
	switch {
	case e.IsDir() || e.IsRegular() && e.Mode&0o100 != 0:
		e.Mode = 0o755
	case e.IsRegular() && e.Mode&0o200 == 0:
		e.Mode = 0o444
	case e.IsRegular():
		e.Mode = 0o644
	}
	e.ModTime = g.when
	return e
}
