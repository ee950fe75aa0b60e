package ops

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hodbuild/hod/builder/source"
)

// tree builds a tree of lines "mode uid:gid path [= content | -> link]"; a path that ends in a slash is a folder.
func tree(t *testing.T, lines ...string) *source.Tree {
	t.Helper()
	tr := source.NewTree()
	for _, line := range lines {
		var mode uint32
		var uid, gid int
		var name string
		if _, err := fmt.Sscanf(line, "%o %d:%d %s", &mode, &uid, &gid, &name); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		e := source.Entry{Path: strings.Trim(name, "/"), Type: tar.TypeReg, Mode: mode, UID: uid, GID: gid, ModTime: time.Unix(1e9, 0)}
		_, link, isLink := strings.Cut(line, " -> ")
		_, content, _ := strings.Cut(line, " = ")
		switch {
		case isLink:
			e.Type, e.Linkname, e.Mode = tar.TypeSymlink, link, 0o777
		case strings.HasSuffix(name, "/"):
			e.Type = tar.TypeDir
		default:
			e.Size = int64(len(content))
		}
		tr.Add(e, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil })
	}
	return tr
}

type lines struct{ out []string }

func (l *lines) WriteEntry(e source.Entry, hardLink string, content io.Reader) error {
	s := fmt.Sprintf("%c %04o %d:%d %s", e.Type, e.Mode, e.UID, e.GID, e.Path)
	switch {
	case hardLink != "":
		s += " == " + hardLink
	case e.Type == tar.TypeSymlink:
		s += " -> " + e.Linkname
	case content != nil:
		b, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		s += " = " + string(b)
	}
	l.out = append(l.out, s)
	return nil
}

func perform(t *testing.T, c Copy, base source.Files) (string, error) {
	t.Helper()
	l, err := c.Plan(context.Background(), base, Options{Tmp: t.TempDir()})
	if err != nil {
		return "", err
	}
	defer l.Close()
	var out lines
	err = l.Write(context.Background(), &out)
	return strings.Join(out.out, "\n"), err
}

func TestCopy(t *testing.T) {
	ctx := []string{
		"644 0:0 a.txt = A", "755 0:0 b.sh = B", "750 0:0 src/", "600 0:0 src/x = X", "700 0:0 src/sub/", "644 0:0 src/sub/y = Y",
		"777 0:0 link -> src/x", "777 0:0 dirlink -> /src", "777 0:0 out -> ../../etc/passwd", "644 0:0 etc/passwd = inside",
	}
	base := []string{"755 0:0 etc/", "644 0:0 etc/passwd = root:x:0:0::/:\nann:x:7:8::/:", "644 0:0 etc/group = staff:x:50:",
		"711 3:4 app/", "644 3:4 app/old = O", "777 0:0 run -> var/run", "755 0:0 var/run/", "777 0:0 gone -> /srv/new"}
	for _, tc := range []struct {
		name string
		op   Copy
		src  []string
		want string
	}{
		{"file to name", Copy{Dest: "/new"}, []string{"a.txt"}, "0 0644 0:0 new = A"},
		{"file into folder", Copy{Dest: "/app"}, []string{"a.txt"}, "5 0711 3:4 app\n0 0644 0:0 app/a.txt = A"},
		{"parents are made", Copy{Dest: "/p/q/"}, []string{"a.txt"}, "5 0755 0:0 p\n5 0755 0:0 p/q\n0 0644 0:0 p/q/a.txt = A"},
		{"made parents take the owner", Copy{Dest: "/p/q/", Chown: "ann"}, []string{"a.txt"}, "5 0755 7:8 p\n5 0755 7:8 p/q\n0 0644 7:8 p/q/a.txt = A"},
		{"owner by number and group", Copy{Dest: "/n", Chown: "5:staff"}, []string{"a.txt"}, "0 0644 5:50 n = A"},
		{"number alone is the group too", Copy{Dest: "/n", Chown: "5"}, []string{"a.txt"}, "0 0644 5:5 n = A"},
		{"folder contents into new folder", Copy{Dest: "/new"}, []string{"src"}, "5 0755 0:0 new\n5 0700 0:0 new/sub\n0 0644 0:0 new/sub/y = Y\n0 0600 0:0 new/x = X"},
		{"existing folder keeps its mode", Copy{Dest: "/app"}, []string{"src/sub"}, "5 0711 3:4 app\n0 0644 0:0 app/y = Y"},
		{"chmod by number also folders", Copy{Dest: "/n/", Chmod: "0751"}, []string{"src"}, "5 0751 0:0 n\n5 0751 0:0 n/sub\n0 0751 0:0 n/sub/y = Y\n0 0751 0:0 n/x = X"},
		{"chmod by letters", Copy{Dest: "/n/", Chmod: "u=rwX,go=rX"}, []string{"src"}, "5 0755 0:0 n\n5 0755 0:0 n/sub\n0 0644 0:0 n/sub/y = Y\n0 0644 0:0 n/x = X"},
		{"source link is followed", Copy{Dest: "/n"}, []string{"link"}, "0 0600 0:0 n = X"},
		{"source folder link is followed", Copy{Dest: "/n/"}, []string{"dirlink/x"}, "5 0755 0:0 n\n0 0600 0:0 n/x = X"},
		{"link out of the context stays inside", Copy{Dest: "/n"}, []string{"out"}, "0 0644 0:0 n = inside"},
		{"dots are clipped", Copy{Dest: "/n"}, []string{"../../a.txt"}, "0 0644 0:0 n = A"},
		{"wildcard", Copy{Dest: "/n/"}, []string{"*.txt"}, "5 0755 0:0 n\n0 0644 0:0 n/a.txt = A"},
		{"wildcard in the middle", Copy{Dest: "/n/"}, []string{"s*/?"}, "5 0755 0:0 n\n0 0600 0:0 n/x = X"},
		{"empty wildcard", Copy{Dest: "/n/"}, []string{"*.none", "a.txt"}, "5 0755 0:0 n\n0 0644 0:0 n/a.txt = A"},
		{"destination link to folder", Copy{Dest: "/run/"}, []string{"a.txt"}, "5 0755 0:0 var\n5 0755 0:0 var/run\n0 0644 0:0 var/run/a.txt = A"},
		{"destination link to nothing", Copy{Dest: "/gone/f"}, []string{"a.txt"}, "5 0755 0:0 srv\n5 0755 0:0 srv/new\n0 0644 0:0 srv/new/f = A"},
		{"link ignores the tree below", Copy{Dest: "/run/f", Link: true}, []string{"a.txt"}, "5 0755 0:0 run\n0 0644 0:0 run/f = A"},
		{"chmod drops link", Copy{Dest: "/app/f", Link: true, Chmod: "600"}, []string{"a.txt"}, "5 0711 3:4 app\n0 0600 0:0 app/f = A"},
		{"parents", Copy{Dest: "/n/", Parents: true}, []string{"src/sub/y"}, "5 0755 0:0 n\n5 0750 0:0 n/src\n5 0700 0:0 n/src/sub\n0 0644 0:0 n/src/sub/y = Y"},
		{"parents from the pivot", Copy{Dest: "/n/", Parents: true}, []string{"src/./sub/y"}, "5 0755 0:0 n\n5 0700 0:0 n/sub\n0 0644 0:0 n/sub/y = Y"},
		{"parents with stars", Copy{Dest: "/n/", Parents: true}, []string{"**/y"}, "5 0755 0:0 n\n5 0750 0:0 n/src\n5 0700 0:0 n/src/sub\n0 0644 0:0 n/src/sub/y = Y"},
		{"exclude", Copy{Dest: "/n/", Exclude: []string{"x"}}, []string{"src"}, "5 0755 0:0 n\n5 0700 0:0 n/sub\n0 0644 0:0 n/sub/y = Y"},
		{"exclude and take back", Copy{Dest: "/n/", Exclude: []string{"*", "!sub/y"}}, []string{"src"}, "5 0755 0:0 n\n5 0700 0:0 n/sub\n0 0644 0:0 n/sub/y = Y"},
		{"exclude cannot climb", Copy{Dest: "/n/", Exclude: []string{"../../*"}}, []string{"src/sub"}, "5 0755 0:0 n\n0 0644 0:0 n/y = Y"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := tree(t, ctx...)
			for _, s := range tc.src {
				tc.op.Sources = append(tc.op.Sources, Source{Files: files, Path: s, Local: true})
			}
			got, err := perform(t, tc.op, tree(t, base...))
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

func TestCopyRefuses(t *testing.T) {
	files := tree(t, "644 0:0 f = F", "755 0:0 d/", "644 0:0 d/app = x", "777 0:0 loop -> loop")
	base := tree(t, "755 0:0 app/", "644 0:0 file = F")
	for _, tc := range []struct {
		name, want string
		op         Copy
		src        string
	}{
		{"missing", `"/nope": not found`, Copy{Dest: "/x"}, "nope"},
		{"folder over file", "not a folder", Copy{Dest: "/file"}, "d"},
		{"file over folder", "cannot replace to directory /app", Copy{Dest: "/"}, "d"},
		{"links without end", "too many symbolic links", Copy{Dest: "/x"}, "loop"},
		{"bad number", "between 0 and 07777", Copy{Dest: "/x", Chmod: "10000"}, "f"},
		{"bad letters", "no permission", Copy{Dest: "/x", Chmod: "u+q"}, "f"},
		{"name with link", "can't be resolved when used with --link", Copy{Dest: "/x", Chown: "ann", Link: true}, "f"},
		{"id out of range", "out of range", Copy{Dest: "/x", Chown: "4294967296"}, "f"},
		{"missing parent", `"/d/none": not found`, Copy{Dest: "/x", Parents: true}, "d/none"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.op.Sources = []Source{{Files: files, Path: tc.src}}
			if _, err := perform(t, tc.op, base); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func archive(t *testing.T, headers ...tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, h.Name)
		}
	}
	w.Close()
	z.Close()
	return b.String()
}

func TestAddArchive(t *testing.T) {
	data := archive(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "run/f", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 9, Gid: 9},
		tar.Header{Name: "run/g", Typeflag: tar.TypeLink, Linkname: "/run/f", Mode: 0o4755, Uid: 9, Gid: 9},
		tar.Header{Name: "abs", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
	)
	base := tree(t, "777 0:0 d/run -> ../var", "755 1:1 var/", "755 2:2 d/")
	files := source.NewFile("x.tgz", 0o644, time.Now(), []byte(data))
	got, err := perform(t, Copy{Sources: []Source{{Files: files, Path: "x.tgz", Unpack: true}}, Dest: "/d/"}, base)
	want := "5 0755 2:2 d\n2 0777 0:0 d/abs -> /etc/passwd\n5 0755 1:1 var\n0 4755 9:9 var/f = run/f\n0 4755 9:9 var/g == var/f" // run is named by no folder of the archive, so the link stays
	if err != nil || got != want {
		t.Fatalf("got\n%s\n%v\nwant\n%s", got, err, want)
	}
}

func TestAddHostileArchive(t *testing.T) {
	for name, headers := range map[string][]tar.Header{
		"climbs":            {{Name: "../x", Typeflag: tar.TypeReg, Mode: 0o644}},
		"climbs later":      {{Name: "a/../../x", Typeflag: tar.TypeReg, Mode: 0o644}},
		"through its link":  {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/"}, {Name: "l/x", Typeflag: tar.TypeReg, Mode: 0o644}},
		"links to nothing":  {{Name: "h", Typeflag: tar.TypeLink, Linkname: "etc/shadow"}},
		"links out":         {{Name: "h", Typeflag: tar.TypeLink, Linkname: "../etc/shadow"}},
		"links to a folder": {{Name: "d", Typeflag: tar.TypeDir}, {Name: "h", Typeflag: tar.TypeLink, Linkname: "d"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := source.NewFile("x", 0o644, time.Now(), []byte(archive(t, headers...)))
			if got, err := perform(t, Copy{Sources: []Source{{Files: files, Path: "x", Unpack: true}}, Dest: "/"}, source.NewTree()); err == nil {
				t.Errorf("accepted: %s", got)
			}
		})
	}
}

func TestCopyFromFolder(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "one"), []byte("1"), 0o600)
	os.Link(filepath.Join(dir, "one"), filepath.Join(dir, "two"))
	os.Symlink("/", filepath.Join(dir, "host"))
	f, err := source.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := perform(t, Copy{Sources: []Source{{Files: f, Path: ".", Local: true}}, Dest: "/"}, source.NewTree())
	if want := "2 0777 0:0 host -> /\n0 0600 0:0 one = 1\n0 0600 0:0 two == one"; err != nil || got != want {
		t.Errorf("got\n%s\n%v", got, err)
	}
	if got, err = perform(t, Copy{Sources: []Source{{Files: f, Path: "host/etc/passwd"}}, Dest: "/"}, source.NewTree()); err == nil {
		t.Errorf("read the host: %s", got)
	}
}

func TestFileThatChanges(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "f"), []byte("12345"), 0o600)
	f, _ := source.OpenFolder(dir)
	defer f.Close()
	for _, content := range []string{"1234", "123456"} {
		os.WriteFile(filepath.Join(dir, "f"), []byte("12345"), 0o600)
		l, err := Copy{Sources: []Source{{Files: f, Path: "f"}}, Dest: "/f"}.Plan(context.Background(), source.NewTree(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(dir, "f"), []byte(content), 0o600)
		if err := l.Write(context.Background(), &lines{}); !errors.Is(err, source.ErrChanged) {
			t.Errorf("size %d: got %v", len(content), err)
		}
	}
}

func TestWorkdir(t *testing.T) {
	base := tree(t, "755 0:0 a/", "644 0:0 etc/passwd = u:x:5:6::/:")
	l, err := Workdir{Path: "/a/b/c", User: "u"}.Plan(base, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var out lines
	l.Write(context.Background(), &out)
	if got, want := strings.Join(out.out, "\n"), "5 0755 0:0 a\n5 0755 5:6 a/b\n5 0755 5:6 a/b/c"; got != want {
		t.Errorf("got\n%s", got)
	}
	if l, err := (Workdir{Path: "/a"}).Plan(base, Options{}); err != nil || !l.Empty() {
		t.Errorf("an existing folder made a layer: %v", err)
	}
}
