package diff

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hodbuild/hod/layers/diff/eviltar"
	"golang.org/x/sys/unix"
)

func TestBoundsOfArchives(t *testing.T) {
	file := func(n string) tar.Header { return tar.Header{Name: n, Typeflag: tar.TypeReg} }
	pax := func(k, v string) tar.Header {
		h := file("f")
		h.PAXRecords = map[string]string{k: v}
		return h
	}
	for _, c := range []struct {
		name   string
		tar    []byte
		limits Limits
		refuse bool
	}{
		{"entries", eviltar.Headers(file("a"), file("b"), file("c")), Limits{Entries: 2}, true},
		{"as many entries as may be", eviltar.Headers(file("a"), file("b")), Limits{Entries: 2}, false},
		{"size", eviltar.Headers(file("a"), file("b")), Limits{Size: 7}, true},
		{"as big as may be", eviltar.Headers(file("a"), file("b")), Limits{Size: 8}, false},
		{"long name", eviltar.Headers(file(strings.Repeat("x", 256))), Limits{}, true},
		{"name of 255 bytes", eviltar.Headers(file(strings.Repeat("x", 255))), Limits{}, false},
		{"deep path", eviltar.Headers(file(strings.Repeat("d/", 2100) + "f")), Limits{}, true},
		{"path of 3600 bytes", eviltar.Headers(file(strings.Repeat("d/", 1800) + "f")), Limits{}, false},
		{"big attribute", eviltar.Headers(pax("SCHILY.xattr.user.x", strings.Repeat("v", 64<<10+1))), Limits{}, true},
		{"attributes of overlay and of the host", eviltar.Headers(pax("SCHILY.xattr.trusted.overlay.redirect", "/etc")), Limits{}, false},
		{"newline and escape in a name", eviltar.Headers(file("a\nb\x1b[31m")), Limits{}, false},
		{"owner beyond 65535", eviltar.Headers(tar.Header{Name: "f", Typeflag: tar.TypeReg, Uid: 1 << 31}), Limits{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := ApplyPath(t.Context(), bytes.NewReader(c.tar), dir, ApplyOptions{Limits: c.limits, SingleID: os.Geteuid() != 0})
			if c.refuse != (err != nil) {
				t.Errorf("error %v, want one: %v", err, c.refuse)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("control characters in %q", err)
			}
			buf := make([]byte, 100)
			if n, _ := unix.Lgetxattr(filepath.Join(dir, "f"), "trusted.overlay.redirect", buf); n > 0 {
				t.Error("an attribute of overlayfs came through")
			}
		})
	}
}

// TestSparseBombs has the maps that cost an archive nothing and its reader much.
func TestSparseBombs(t *testing.T) {
	sparse := func(size int64) []byte {
		var b bytes.Buffer
		body := "1\n0\n4\n"
		body += strings.Repeat("\x00", 512-len(body)) + "evil"
		var records string
		for _, r := range [][2]string{{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", "f"},
			{"GNU.sparse.realsize", fmt.Sprint(size)}} {
			records += paxRecord(r[0], r[1])
		}
		b.Write(fields{name: "x", kind: tar.TypeXHeader, mode: 0o644, size: int64(len(records))}.block())
		b.WriteString(records)
		b.Write(zeros[:padding(int64(len(records)))])
		b.Write(fields{name: "f", kind: tar.TypeReg, mode: 0o644, size: int64(len(body))}.block())
		b.WriteString(body)
		b.Write(zeros[:padding(int64(len(body)))])
		b.Write(zeros[:1024])
		return b.Bytes()
	}
	if _, err := ApplyPath(t.Context(), bytes.NewReader(sparse(1<<62)), t.TempDir(), ApplyOptions{}); err == nil {
		t.Error("a hole of 4 EiB is accepted")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: owners are restored")
	}
	dir := t.TempDir()
	if _, err := ApplyPath(t.Context(), bytes.NewReader(sparse(64<<20)), dir, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/f", &st); err != nil || st.Size != 64<<20 || st.Blocks > 4096 {
		t.Errorf("size %d in %d blocks: %v", st.Size, st.Blocks, err)
	}
}

// TestReadsToTheEnd: whoever verifies the stream must have seen what lies behind the archive's end too.
func TestReadsToTheEnd(t *testing.T) {
	data := append(eviltar.Headers(tar.Header{Name: "f", Typeflag: tar.TypeReg}), "behind"...)
	want := errors.New("digest mismatch")
	r := io.MultiReader(bytes.NewReader(data), failing{want})
	for _, o := range []ApplyOptions{{}, {NoTree: true}} {
		if _, err := ApplyPath(t.Context(), r, t.TempDir(), o); !errors.Is(err, want) {
			t.Errorf("error %v", err)
		}
		r = io.MultiReader(bytes.NewReader(data), failing{want})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzApply(f *testing.F) {
	for _, c := range eviltar.Cases("/nowhere") {
		f.Add(c.Tar)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		top := t.TempDir()
		dir, again := filepath.Join(top, "a"), filepath.Join(top, "b")
		os.Mkdir(dir, 0o755)
		os.Mkdir(again, 0o755)
		o := ApplyOptions{SingleID: true, UserXattr: os.Geteuid() != 0, Limits: Limits{Size: 1 << 20, Entries: 1000, Sparse: 1 << 20}}
		x, err := ApplyPath(t.Context(), bytes.NewReader(data), dir, o)
		if list, _ := os.ReadDir(top); len(list) != 2 {
			t.Fatalf("files appeared outside: %v", list)
		}
		if err != nil {
			return
		}
		y, err := ApplyPath(t.Context(), bytes.NewReader(data), again, o)
		if err != nil {
			t.Fatal(err)
		}
		var a, b bytes.Buffer
		x.Encode(&a)
		y.Encode(&b)
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf("two indexes of one archive:\n%s\n%s", a.Bytes(), b.Bytes())
		}
		o.NoTree = true
		n, err := Apply(t.Context(), bytes.NewReader(data), nil, o)
		if err != nil {
			t.Fatalf("unpacked, but not read: %v", err)
		}
		b.Reset()
		n.Encode(&b)
		if x.SelfContained && !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf("unpacking and reading see two layers:\n%s\n%s", a.Bytes(), b.Bytes())
		}
	})
}
