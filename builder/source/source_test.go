package source

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func folder(t *testing.T, files ...string) (*Folder, string) {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		name, target, isLink := strings.Cut(f, " -> ")
		p := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(p), 0o755)
		var err error
		if isLink {
			err = os.Symlink(target, p)
		} else {
			err = os.WriteFile(p, []byte(f), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, dir
}

func names(t *testing.T, f Files, dir string) string {
	t.Helper()
	list, err := f.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Path)
		if e.IsDir() {
			if below := names(t, f, e.Path); below != "" {
				out = append(out, below)
			}
		}
	}
	return strings.Join(out, " ")
}

func TestFolderKeepsTheHostOut(t *testing.T) {
	outside := t.TempDir()
	os.WriteFile(filepath.Join(outside, "secret"), []byte("marker"), 0o644)
	f, _ := folder(t, "a/f", "abs -> "+outside, "up -> ../../../../../../"+outside, "in -> a")
	for _, p := range []string{"abs/secret", "up/secret"} {
		if r, err := f.Open(p); err == nil {
			r.Close()
			t.Errorf("open %q went through the link", p)
		}
		if _, err := f.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat %q: %v", p, err)
		}
		if data, err := ReadFile(f, p, 100); err == nil {
			t.Errorf("read %q: %s", p, data)
		}
	}
	if data, err := ReadFile(f, "in/f", 100); err != nil || string(data) != "a/f" {
		t.Errorf("a link inside: %q, %v", data, err)
	}
}

func TestFolderDoesNotBlockOnPipes(t *testing.T) {
	f, dir := folder(t)
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := f.Open("pipe"); err == nil {
		r.Close()
		t.Error("opened a pipe")
	}
}

func TestIgnore(t *testing.T) {
	all := []string{"a", "b.md", "d/x", "d/keep", "d/e/y.md", "Dockerfile"}
	for _, tc := range []struct{ patterns, want string }{
		{"", "Dockerfile a b.md d d/e d/e/y.md d/keep d/x"},
		{"*.md", "Dockerfile a d d/e d/e/y.md d/keep d/x"},
		{"**/*.md", "Dockerfile a d d/e d/keep d/x"},
		{"d", "Dockerfile a b.md"},
		{"*\n!d/keep", "d d/keep"},
		{"d\n!d/e/*", "Dockerfile a b.md d d/e d/e/y.md"},
		{"# all\n/d/x\n\nDockerfile", "a b.md d d/e d/e/y.md d/keep"},
		{"*\n!nothing", ""},
	} {
		f, _ := folder(t, all...)
		ignore, err := ParseIgnore(".dockerignore", []byte(tc.patterns))
		if err != nil {
			t.Fatal(err)
		}
		if got := names(t, Filter(f, ignore), ""); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.patterns, got, tc.want)
		}
	}
}

func TestIgnoreFileOfTheRecipeWins(t *testing.T) {
	f, dir := folder(t, "a", "b")
	os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte("a"), 0o644)
	os.WriteFile(filepath.Join(dir, "x.dockerignore"), []byte("b"), 0o644)
	for recipe, excluded := range map[string]string{"x": "b", "y": "a", "": "a"} {
		ignore, err := ReadIgnore(f, recipe)
		if err != nil {
			t.Fatal(err)
		}
		if hit, _ := ignore.Excluded(excluded); !hit {
			t.Errorf("recipe %q: %q is not excluded", recipe, excluded)
		}
	}
}

func TestArchive(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o640, Uid: 5, Size: 2})
	io.WriteString(w, "hi")
	w.WriteHeader(&tar.Header{Name: "d/l", Typeflag: tar.TypeLink, Linkname: "d/f", Mode: 0o600, Uid: 6})
	w.Close()
	a, err := ReadArchive(&b, t.TempDir(), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if got := names(t, a, ""); got != "d d/f d/l" {
		t.Errorf("got %q", got)
	}
	one, _ := a.Lstat("d/f")
	two, _ := a.Lstat("d/l")
	if one.Inode == "" || one.Inode != two.Inode || one.UID != 6 || one.Mode != 0o600 || two.Mode != 0o600 { // the last header speaks for all names
		t.Errorf("hard link: %+v %+v", one, two)
	}
	if data, _ := ReadFile(a, "d/l", 10); string(data) != "hi" {
		t.Errorf("content %q", data)
	}
}

func TestArchiveLimits(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for range 3 {
		w.WriteHeader(&tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 2})
		io.WriteString(w, "hi")
	}
	w.Close()
	for _, l := range []Limits{{Entries: 2}, {Bytes: 5}} {
		if _, err := ReadArchive(bytes.NewReader(b.Bytes()), t.TempDir(), l); err == nil {
			t.Errorf("%+v was not enforced", l)
		}
	}
	if a, err := ReadArchive(bytes.NewReader(b.Bytes()), t.TempDir(), Limits{Entries: 3, Bytes: 6}); err != nil {
		t.Error(err)
	} else {
		a.Close()
	}
}

func FuzzIgnore(f *testing.F) {
	f.Add("*\n!a/b", "a/b")
	f.Add("[", "x")
	f.Fuzz(func(t *testing.T, patterns, p string) {
		ignore, err := ParseIgnore("f", []byte(patterns))
		if err != nil {
			return
		}
		p = Clean(p)
		hit, err := ignore.Excluded(p)
		if err != nil || p == "" || hit || ignore.matcher.Exclusions() {
			return
		}
		// Without patterns that include again, nothing above an entry that is shown is hidden.
		for d := parent(p); d != ""; d = parent(d) {
			if above, _ := ignore.Excluded(d); above {
				t.Errorf("%q is shown below hidden %q", p, d)
			}
		}
	})
}

func TestDockerignoreWithoutPattern(t *testing.T) {
	if _, err := ParseIgnore(".dockerignore", []byte("!\n")); err == nil {
		t.Error("a lone ! was accepted")
	}
}
