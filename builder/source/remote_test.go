package source

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestParseGit(t *testing.T) {
	for in, want := range map[string]string{
		"https://h/o/r.git":                          "https://h/o/r.git | | |",
		"https://h/o/r.git#v1:sub/dir":               "https://h/o/r.git | v1 | sub/dir |",
		"git@h:o/r.git#main":                         "git@h:o/r.git | main | |",
		"ssh://git@h:22/o/r#:d":                      "ssh://git@h:22/o/r | | d |",
		"https://h/r.git?tag=v1&subdir=x":            "https://h/r.git | refs/tags/v1 | x |",
		"https://h/r.git?branch=b&checksum=abcdef01": "https://h/r.git | refs/heads/b | | abcdef01",
	} {
		g, err := ParseGit(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		got := strings.Join(strings.Fields(strings.Join([]string{g.Remote, g.Ref, g.Subdir, g.Checksum}, " | ")), " ")
		if got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestParseGitRefuses(t *testing.T) {
	for _, in := range []string{
		"https://h/r.git#--upload-pack=touch /tmp/p", "https://h/r.git#-oProxyCommand=x", "https://h/r.git#main:../..",
		"https://h/r.git?subdir=../x", "https://h/r.git?ref=a&tag=b", "https://h/r.git?ref=a:b", "https://h/r.git?nope=1",
		"https://h/r.git#+a", "-u@h:r", "https://h/r.git?checksum=--x", "https://h/r.git?mtime=never", "https://h/r.git?ref=",
	} {
		if g, err := ParseGit(in); err == nil || errors.Is(err, ErrNotGit) {
			t.Errorf("%s: %+v, %v", in, g, err)
		}
	}
	for _, in := range []string{"./x.git", "/x.git", "file:///x.git", "ext::sh -c touch", "https://h/file.tar", "dir", "http://"} {
		if g, err := ParseGit(in); !errors.Is(err, ErrNotGit) {
			t.Errorf("%s: %+v, %v", in, g, err)
		}
	}
}

func FuzzParseGit(f *testing.F) {
	f.Add("https://h/r.git?ref=a&subdir=b#c:d")
	f.Add("git@h:x#-y")
	f.Fuzz(func(t *testing.T, s string) {
		g, err := ParseGit(s)
		if err != nil {
			return
		}
		if strings.HasPrefix(g.Remote, "-") || strings.HasPrefix(g.Ref, "-") || strings.Contains("/"+g.Subdir+"/", "/../") {
			t.Errorf("%q gave %+v", s, g)
		}
	})
}

// repositoryServer serves a bare repository as plain files, with a link, a program, a hook and a folder.
func repositoryServer(t *testing.T) (url, commit string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	script := `set -e
git init -q -b main r; cd r; git config user.email a@b; git config user.name n
mkdir sub; echo one > sub/f; echo '#!/bin/sh' > run; chmod +x run; ln -s / evil
git add -A; git commit -qm one; git tag -a v1 -m v1; echo two > sub/f; git commit -qam two
git clone -q --bare . ../r.git; cd ../r.git; git update-server-info; git rev-parse main`
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(s.Close)
	return s.URL + "/r.git", strings.TrimSpace(string(out))
}

func TestCheckout(t *testing.T) {
	url, commit := repositoryServer(t)
	for spec, want := range map[string]string{
		url:                              "two",
		url + "#v1":                      "one",
		url + "#main":                    "two",
		url + "#" + commit:               "two",
		url + "?tag=v1":                  "one",
		url + "?checksum=" + commit[:12]: "two",
	} {
		g, err := ParseGit(spec)
		if err != nil {
			t.Fatal(err)
		}
		c, err := g.Checkout(context.Background(), GitOptions{Tmp: t.TempDir()})
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		data, _ := ReadFile(c, "sub/f", 100)
		if got := strings.TrimSpace(string(data)); got != want {
			t.Errorf("%s: got %q", spec, got)
		}
		if e, _ := c.Lstat("run"); e.Mode != 0o755 {
			t.Errorf("%s: program has mode %o", spec, e.Mode)
		}
		if got := names(t, c, ""); got != "evil run sub sub/f" {
			t.Errorf("%s: %s", spec, got)
		}
		c.Close()
	}
}

func TestCheckoutRefuses(t *testing.T) {
	url, _ := repositoryServer(t)
	for spec, want := range map[string]string{
		url + "#main:evil":        "subdir",
		url + "#main:sub/f":       "subdir",
		url + "?checksum=0000000": "expected checksum",
		url + "#nope":             "git fetch",
	} {
		g, err := ParseGit(spec)
		if err != nil {
			t.Fatal(err)
		}
		tmp := t.TempDir()
		if c, err := g.Checkout(context.Background(), GitOptions{Tmp: tmp}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", spec, c, err)
		}
		if left, _ := filepath.Glob(tmp + "/*"); len(left) > 0 {
			t.Errorf("%s left %v", spec, left)
		}
	}
}

func TestFetch(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("auth:" + r.Header.Get("Authorization") + r.Header.Get("Referer")))
	}))
	defer other.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other.URL+"/x", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/cloud":
			http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusFound)
		case "/none":
			http.NotFound(w, r)
		default:
			w.Header().Set("Content-Disposition", `attachment; filename="../../evil"`)
			w.Write([]byte("hello"))
		}
	}))
	defer s.Close()
	get := func(f Fetch) (string, *Download, error) {
		f.Tmp = t.TempDir()
		d, err := f.Do(context.Background())
		if err != nil {
			return "", nil, err
		}
		defer d.Close()
		data, err := ReadFile(d, d.Name, 100)
		return string(data), d, err
	}
	if got, d, err := get(Fetch{URL: s.URL + "/dir/name.txt", Checksum: digest.FromString("hello")}); err != nil || got != "hello" || d.Name != "name.txt" {
		t.Errorf("got %q %+v %v", got, d, err)
	}
	if got, _, err := get(Fetch{URL: s.URL + "/away?token=secret", Authorization: "secret"}); err != nil || got != "auth:" {
		t.Errorf("credentials crossed an origin: %q %v", got, err)
	}
	for name, f := range map[string]Fetch{
		"file":     {URL: s.URL + "/file"},
		"cloud":    {URL: s.URL + "/cloud"},
		"missing":  {URL: s.URL + "/none"},
		"limit":    {URL: s.URL + "/x", Limit: 4},
		"checksum": {URL: s.URL + "/x", Checksum: digest.FromString("other")},
	} {
		if got, _, err := get(f); err == nil {
			t.Errorf("%s: got %q", name, got)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than a line: %v", name, err)
		}
	}
}

func TestURLName(t *testing.T) {
	for in, want := range map[string]string{
		"http://h/a/b.txt?x=1": "b.txt", "http://h/": "__unnamed__", "http://h": "__unnamed__", "http://h/%2e%2e": "download",
		"http://h/a%2Fb": "b", "http://h/..%5c": "download", "http://h/" + strings.Repeat("x", 300): "download",
	} {
		if got := URLName(in); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}
