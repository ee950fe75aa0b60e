package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func blob(text string) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: "text/plain", Digest: digest.FromString(text), Size: int64(len(text))}
}

// written is a small archive of ours.
func written(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	s := NewTar(&b)
	for range 2 { // the second time costs nothing
		if err := s.Put(blob("hello"), strings.NewReader("hello")); err != nil {
			t.Fatal(err)
		}
	}
	s.Add(blob("hello"), Name{Full: "docker.io/library/a:v1", Ref: "a:v1"})
	s.AddDocker(digest.FromString("hello"), nil, []string{"a:v1"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	plain := written(t)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{"plain": plain, "gzip": packed.Bytes()} {
		src, err := Read(bytes.NewReader(raw), name)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		items := src.Items()
		if len(items) != 1 || len(items[0].Names) != 1 || items[0].Names[0] != "docker.io/library/a:v1" {
			t.Fatalf("%s: items %+v", name, items)
		}
		if got, err := src.Read(items[0].Target); err != nil || string(got) != "hello" {
			t.Errorf("%s: read %q, %v", name, got, err)
		}
	}
}

// member is a file of a hostile tar.
type member struct {
	name, text, link string
}

func tarOf(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: m.name, Size: int64(len(m.text)), Mode: 0o644}
		if m.link != "" {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, m.link, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.text[:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestHostilePaths: no path of an archive reaches a file of the host.
func TestHostilePaths(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("marker"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"../../etc/passwd", "/etc/passwd", secret, "link", "dir/link", "a/../../x", ""} {
		raw := tarOf(t, member{name: "manifest.json", text: `[{"Config":"x","Layers":[]}]`},
			member{name: "link", link: secret}, member{name: "dir/link", link: "../../../../" + secret})
		src, err := Read(bytes.NewReader(raw), "hostile")
		if err != nil {
			t.Fatal(err)
		}
		if r, _, err := src.File(path); err == nil {
			got, _ := io.ReadAll(r)
			t.Errorf("%q opened: %q", path, got)
		}
		src.Close()
	}
}

// TestLinksInside: Docker's older archives link equal layers to each other.
func TestLinksInside(t *testing.T) {
	raw := tarOf(t, member{name: "manifest.json", text: `[]`}, member{name: "a/layer.tar", text: "layer"}, member{name: "b/layer.tar", link: "../a/layer.tar"})
	src, err := Read(bytes.NewReader(raw), "docker")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if got, err := src.ReadFile("b/layer.tar"); err != nil || string(got) != "layer" {
		t.Errorf("read %q, %v", got, err)
	}
}

// TestLayoutLinks: a blob of a folder that is a link, or lies in a linked folder, is refused.
func TestLayoutLinks(t *testing.T) {
	dir, hello := t.TempDir(), blob("hello")
	for name, text := range map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": `{"manifests":[]}`, "real": "hello"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../real", filepath.Join(dir, blobPath(hello.Digest))); err != nil {
		t.Fatal(err)
	}
	src, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, err := src.Blob(hello); err == nil {
		t.Error("a linked blob is read")
	}
}

// TestHostileBlobs: bytes, sizes and digests that do not hold are errors.
func TestHostileBlobs(t *testing.T) {
	good := blob("hello")
	raw := tarOf(t, member{name: "oci-layout", text: "{}"}, member{name: "index.json", text: `{"manifests":[]}`},
		member{name: blobPath(good.Digest), text: "HELLO"})
	src, err := Read(bytes.NewReader(raw), "hostile")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	longer, escape, short, upper := good, good, good, good
	longer.Size++
	escape.Digest = "sha256:../../../../etc/passwd"
	short.Digest = good.Digest[:70]
	upper.Digest = digest.Digest("sha256:" + strings.ToUpper(good.Digest.Encoded()))
	huge := good
	huge.Size = maxJSON + 1
	for name, d := range map[string]ocispec.Descriptor{"bytes": good, "size": longer, "escape": escape, "short": short, "upper": upper, "huge": huge} {
		if got, err := src.Read(d); err == nil {
			t.Errorf("%s: read %q", name, got)
		}
	}
}

func TestNotAnArchive(t *testing.T) {
	for name, raw := range map[string][]byte{
		"empty": nil, "text": []byte("hello\n"), "files": tarOf(t, member{name: "etc/passwd", text: "x"}),
		"version": tarOf(t, member{name: "oci-layout", text: "{}"}), "json": tarOf(t, member{name: "manifest.json", text: "{"}),
	} {
		if src, err := Read(bytes.NewReader(raw), name); err == nil {
			src.Close()
			t.Errorf("%s is taken", name)
		} else if name == "files" && !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v is not ErrFormat", name, err)
		}
	}
}

func TestFolderSinkRefusesFullFolder(t *testing.T) {
	dir := t.TempDir()
	s, err := NewFolder(filepath.Join(dir, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(blob("hello"), strings.NewReader("hell")); err == nil {
		t.Error("a short blob is taken")
	}
	if _, err := NewFolder(dir); err == nil {
		t.Error("a folder with something in it is taken")
	}
}

// FuzzRead: whatever is taken names only what can be read back verified.
func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	s := NewTar(&b)
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		src, err := Read(bytes.NewReader(raw), "fuzz")
		if err != nil {
			return
		}
		defer src.Close()
		for _, item := range src.Items() {
			if got, err := src.Read(item.Target); err == nil && item.Target.Digest.Algorithm().FromBytes(got) != item.Target.Digest {
				t.Errorf("read bytes that are not %s", item.Target.Digest)
			}
		}
	})
}
