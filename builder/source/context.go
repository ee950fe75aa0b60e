package source

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"
)

// Context is a build context that was opened: a tree, or nothing but a recipe.
type Context struct {
	// Files is the tree; empty where the context was a recipe only.
	Files Files
	// Local marks a folder of this machine: its owners and times say nothing.
	Local bool
	// Recipe is the text of a context that is only a recipe.
	Recipe []byte
	// Sums remembers the digests of a folder's files, nil where nothing does.
	Sums *StatCache
	// Commit is the full name of a git context's commit.
	Commit string
	// Time is that of a commit, what a server says of a download, or that of an archive's newest file; else zero.
	Time   time.Time
	closer io.Closer
}

// Close releases what the context holds.
func (c *Context) Close() error {
	if c.closer == nil {
		return nil
	}
	return c.closer.Close()
}

// OpenOptions say what a context may use of this machine.
type OpenOptions struct {
	// Stdin is read for the context "-".
	Stdin io.Reader
	// Tmp is the folder for archives and checkouts.
	Tmp string
	// Sums is the folder of the stat caches, "" for none.
	Sums string
	// Limits bound archives.
	Limits Limits
	// Git says how repositories are fetched.
	Git GitOptions
	// Secret finds a secret by its id, nil where there is none: GIT_AUTH_TOKEN, GIT_AUTH_HEADER, HTTP_AUTH_TOKEN and
	// HTTP_AUTH_HEADER, each also with _HOST or .HOST behind it.
	Secret func(id string) []byte
	// KeepGitDir keeps the .git of a repository whose URL does not say.
	KeepGitDir bool
}

// RecipeLimit bounds the size of a recipe.
const RecipeLimit = 16 << 20

// Open opens a context: a folder, a tar archive (plain or compressed), "-" for one of these or a recipe on standard
// input, a git repository, or a URL of an archive or a recipe.
func Open(ctx context.Context, spec string, o OpenOptions) (*Context, error) {
	if spec == "-" {
		if o.Stdin == nil {
			return nil, errors.New("open context: no standard input")
		}
		return openStream(ctx, o.Stdin, "standard input", o)
	}
	st, err := os.Stat(spec)
	if err == nil && st.IsDir() {
		return openFolder(spec, o)
	}
	if err == nil {
		return openFile(ctx, spec, o)
	}
	if strings.HasPrefix(spec, "github.com/") {
		spec = "https://" + withGitSuffix(spec)
	}
	switch g, gitErr := ParseGit(spec); {
	case gitErr == nil:
		return openGit(ctx, g, o)
	case !errors.Is(gitErr, ErrNotGit):
		return nil, fmt.Errorf("open context: %w", gitErr)
	case strings.HasPrefix(spec, "http://"), strings.HasPrefix(spec, "https://"):
		return openURL(ctx, spec, o)
	case errors.Is(err, fs.ErrNotExist):
		return nil, &noContextError{spec}
	}
	return nil, fmt.Errorf("open context: %w", err)
}

// noContextError says that a context is neither here nor a URL.
type noContextError struct{ spec string }

func (e *noContextError) Error() string {
	return fmt.Sprintf("open context: path %q not found", e.spec)
}

// Hint says what a context can be.
func (e *noContextError) Hint() string {
	return "a context is a folder (. is this one), a tar of one, - for standard input, or the URL of a git repository or an archive"
}

func openFolder(dir string, o OpenOptions) (*Context, error) {
	f, err := OpenFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("open context: %w", err)
	}
	c := &Context{Files: f, Local: true, closer: f}
	if o.Sums == "" {
		return c, nil
	}
	if c.Sums, err = OpenStatCache(o.Sums, f); err != nil {
		f.Close()
		return nil, fmt.Errorf("open context: %w", err)
	}
	return c, nil
}

func withGitSuffix(s string) string {
	n := len(s)
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		n = i
	}
	return strings.TrimSuffix(s[:n], ".git") + ".git" + s[n:]
}

func openFile(ctx context.Context, name string, o OpenOptions) (*Context, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open context: %w", err)
	}
	defer f.Close()
	c, err := openStream(ctx, f, name, o)
	if err != nil {
		return nil, err
	}
	if c.Recipe != nil {
		return nil, fmt.Errorf("open context: %q is neither a folder nor an archive", name)
	}
	return c, nil
}

func openGit(ctx context.Context, g *Git, o OpenOptions) (*Context, error) {
	if o.Git.Tmp == "" {
		o.Git.Tmp = o.Tmp
	}
	if o.KeepGitDir && g.KeepGitDir == nil {
		g.KeepGitDir = &o.KeepGitDir
	}
	checkout, err := g.Checkout(ctx, g.Credentials(o.Git, o.Secret))
	if err != nil {
		return nil, fmt.Errorf("open context: %w", err)
	}
	return &Context{Files: checkout, Local: true, Commit: checkout.Commit, Time: checkout.Time, closer: checkout}, nil
}

// Credentials adds the secrets for the remote's host, which find gives by id.
func (g *Git) Credentials(o GitOptions, find func(id string) []byte) GitOptions {
	u, err := url.Parse(g.Remote)
	if err != nil || find == nil {
		return o
	}
	if o.Token == "" {
		o.Token = Secret(find, "GIT_AUTH_TOKEN", u.Host)
	}
	if o.Header == "" {
		o.Header = Secret(find, "GIT_AUTH_HEADER", u.Host)
	}
	return o
}

// Secret finds the credential for a host, or the one for all hosts.
func Secret(find func(string) []byte, id, host string) string {
	for _, name := range []string{id + "_" + host, id + "." + host, id} {
		if v := find(name); v != nil {
			return strings.TrimSpace(string(v))
		}
	}
	return ""
}

// Authorization is the header that the secrets give for a URL.
func Authorization(find func(string) []byte, raw string) string {
	u, err := url.Parse(raw)
	if err != nil || find == nil {
		return ""
	}
	for _, kind := range []struct{ id, prefix string }{{"HTTP_AUTH_HEADER", ""}, {"HTTP_AUTH_TOKEN", "Bearer "}} {
		for _, host := range []string{u.Host, u.Hostname()} { // BuildKit leaves the port out
			for _, name := range []string{kind.id + "_" + host, kind.id + "." + host} {
				if v := find(name); v != nil {
					return kind.prefix + strings.TrimSpace(string(v))
				}
			}
		}
	}
	return ""
}

func openURL(ctx context.Context, raw string, o OpenOptions) (*Context, error) {
	d, err := Fetch{URL: raw, Tmp: o.Tmp, Authorization: Authorization(o.Secret, raw)}.Do(ctx)
	if err != nil {
		return nil, fmt.Errorf("open context: %w", err)
	}
	defer d.Close()
	c, err := openStream(ctx, d.Reader(), "the downloaded file", o)
	if err == nil && !d.Modified.IsZero() {
		c.Time = d.Modified
	}
	return c, err
}

// openStream reads an archive, or else a recipe.
func openStream(ctx context.Context, r io.Reader, name string, o OpenOptions) (*Context, error) {
	b := bufio.NewReaderSize(&contextReader{ctx, r}, 64<<10)
	head, err := b.Peek(1)
	if len(head) == 0 {
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		return nil, fmt.Errorf("open context: %s is empty", name)
	}
	plain, err := Decompress(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer plain.Close()
	data := bufio.NewReaderSize(plain, 64<<10)
	if !startsTar(data) {
		return openRecipe(data, name)
	}
	a, err := ReadArchive(data, o.Tmp, o.Limits)
	if err != nil {
		return nil, fmt.Errorf("open context: %s: %w", name, err)
	}
	return &Context{Files: a, Time: a.newest(), closer: a}, nil
}

func startsTar(b *bufio.Reader) bool {
	head, _ := b.Peek(512)
	if len(head) < 512 {
		return false
	}
	if string(head[257:262]) == "ustar" {
		return true
	}
	_, err := tar.NewReader(bytes.NewReader(head)).Next()
	return err == nil
}

func openRecipe(r io.Reader, name string) (*Context, error) {
	data, err := io.ReadAll(io.LimitReader(r, RecipeLimit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > RecipeLimit {
		return nil, fmt.Errorf("read %s: a recipe of more than %d bytes", name, RecipeLimit)
	}
	return &Context{Files: NewTree(), Recipe: data}, nil
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
