package diff

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers/diff/eviltar"
	"github.com/hodbuild/hod/layers/granted"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

func TestEvilArchives(t *testing.T) {
	outside := t.TempDir()
	canary := filepath.Join(outside, "canary")
	if err := os.WriteFile(canary, []byte("alive"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(outside)
	nothing, err := NewView(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range eviltar.Cases(outside) {
		t.Run(c.Name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := ApplyPath(t.Context(), bytes.NewReader(c.Tar), dir, ApplyOptions{Below: nothing, SingleID: os.Geteuid() != 0, UserXattr: os.Geteuid() != 0})
			if c.Refuse != (err != nil) {
				t.Errorf("error %v, want one: %v", err, c.Refuse)
			}
			_, nerr := Apply(t.Context(), bytes.NewReader(c.Tar), nil, ApplyOptions{NoTree: true})
			if c.Refuse != (nerr != nil) && !c.Alone {
				t.Errorf("reading alone: %v", nerr)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("control characters in %q", err)
			}
			for p, want := range c.Want {
				if got := kindOf(t, filepath.Join(dir, p)); got != want {
					t.Errorf("%q is %q, want %q", p, got, want)
				}
			}
			got, rerr := os.ReadFile(canary)
			var st unix.Stat_t
			if serr := unix.Stat(canary, &st); rerr != nil || serr != nil || string(got) != "alive" || st.Nlink != 1 {
				t.Fatalf("the canary is %q with %d links", got, st.Nlink)
			}
			if list, _ := os.ReadDir(outside); len(list) != 1 {
				t.Fatalf("files appeared outside: %v", list)
			}
		})
	}
}

// kindOf says what lies at a path, as eviltar.Case.Want does.
func kindOf(t *testing.T, path string) string {
	st, err := os.Lstat(path)
	if err != nil {
		return err.Error()
	}
	if to, err := os.Readlink(path); err == nil {
		return "-> " + to
	}
	if st.IsDir() {
		return "folder"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// sample is a tree with one of each kind.
func sample() []Entry {
	at := time.Unix(1600000000, 0).UTC()
	long := strings.Repeat("n", 120)
	return []Entry{
		{Path: "a", Type: tar.TypeDir, Mode: 0o1777, ModTime: at},
		{Path: "a/b", Type: tar.TypeReg, Mode: 0o4755, Size: 5, ModTime: at},
		{Path: "a/c", Type: tar.TypeLink, Mode: 0o4755, Linkname: "a/b", ModTime: at},
		{Path: "a-b", Type: tar.TypeSymlink, Mode: 0o777, Linkname: "/a/b", ModTime: at},
		{Path: "f", Type: tar.TypeFifo, Mode: 0o600, UID: 70000, GID: 3000000, ModTime: at},
		{Path: "große", Type: tar.TypeReg, Mode: 0o644, ModTime: at, Xattrs: map[string]string{"user.x": "1"}},
		{Path: long, Type: tar.TypeReg, Mode: 0o600, Size: 300000, ModTime: at},
	}
}

func packSample(t *testing.T, o PackOptions) ([]byte, *Index) {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b, o)
	for _, e := range sample() {
		if err := w.WriteEntry(e, strings.NewReader(strings.Repeat("hello", 60000))); err != nil {
			t.Fatal(err)
		}
	}
	x, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), x
}

func TestUnpackThenPackGivesTheSameBytes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners are restored")
	}
	data, _ := packSample(t, PackOptions{Timestamps: Source})
	dir := t.TempDir()
	x, err := ApplyPath(t.Context(), bytes.NewReader(data), dir, ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !x.SelfContained || x.Size != int64(len(data)) {
		t.Errorf("self-contained %v, size %d of %d", x.SelfContained, x.Size, len(data))
	}
	var again bytes.Buffer
	if _, err := PackTree(t.Context(), dir, &again, PackOptions{Timestamps: Source}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, again.Bytes()) {
		t.Error("the tars differ")
	}
	for _, e := range x.Entries {
		if e.IsRegular() && e.Size > 0 {
			if got := digest.FromBytes(data[e.Offset : e.Offset+e.Size]); got != e.Digest.Digest() {
				t.Errorf("%s: digest %s, content at its offset has %s", e.Path, e.Digest, got)
			}
		}
	}
}

func TestGoldenDiffID(t *testing.T) {
	data, _ := packSample(t, PackOptions{})
	const want = "sha256:36f81f7c495b19f2c881708769345bdf41d2fbd4cdfd5b9b2fcf824be6857e27"
	if got := digest.FromBytes(data); got != want {
		t.Errorf("diffID %s, want %s: name a new PackerVersion if this must be", got, want)
	}
	r := tar.NewReader(bytes.NewReader(data))
	for _, e := range sample() {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSuffix(h.Name, "/") != e.Path || h.Uid != e.UID || h.Gid != e.GID || !h.ModTime.Equal(Epoch) || h.Linkname != e.Linkname {
			t.Errorf("header %+v, want %+v", h, e)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
}

func TestWhiteoutsOnDiskAndInViews(t *testing.T) {
	granted.NeedRoot(t, "opaque folders are marked by a trusted attribute")
	dir := tar.Header{Typeflag: tar.TypeDir}
	named := func(n string) tar.Header { h := dir; h.Name = n; return h }
	file := func(n string) tar.Header { return tar.Header{Name: n, Typeflag: tar.TypeReg} }
	base, err := Apply(t.Context(), bytes.NewReader(eviltar.Headers(named("usr"), named("usr/lib"), file("usr/lib/x"),
		tar.Header{Name: "lib", Typeflag: tar.TypeSymlink, Linkname: "usr/lib"}, named("d"), file("d/old"), file("gone"))), nil,
		ApplyOptions{NoTree: true})
	if err != nil {
		t.Fatal(err)
	}
	below, err := NewView([]*Index{base}, nil)
	if err != nil {
		t.Fatal(err)
	}
	up := t.TempDir()
	x, err := ApplyPath(t.Context(), bytes.NewReader(eviltar.Headers(file("d/new"), file("d/.wh..wh..opq"), file(".wh.gone"),
		file("lib/y"))), up, ApplyOptions{Below: below})
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(up+"/gone", &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("no whiteout: %v", err)
	}
	if n, err := unix.Getxattr(up+"/d", "trusted.overlay.opaque", make([]byte, 1)); n != 1 {
		t.Errorf("d is not opaque: %v", err)
	}
	if err := unix.Lstat(up+"/usr/lib/y", &st); err != nil {
		t.Errorf("the implied folder was not followed: %v", err)
	}
	v, err := NewView([]*Index{base, x}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	v.Walk(func(e Entry) error { got = append(got, e.Path); return nil })
	if s := strings.Join(got, " "); s != "d d/new lib usr usr/lib usr/lib/x usr/lib/y" {
		t.Errorf("view: %s", s)
	}
}
