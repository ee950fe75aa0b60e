package layers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func testStore(t *testing.T) *Store {
	t.Helper()
	return reopen(t, filepath.Join(t.TempDir(), "store"))
}

// memoryDir is a temporary folder in memory where there is one: tests that make many files wait for no disk.
func memoryDir(t *testing.T) string {
	t.Helper()
	base := "/dev/shm"
	if st, err := os.Stat(base); err != nil || !st.IsDir() {
		base = t.TempDir()
	}
	dir, err := os.MkdirTemp(base, "hod-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func reopen(t *testing.T, root string) *Store {
	t.Helper()
	s, err := Open(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func descOf(mt string, b []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mt, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

func mustPut(t *testing.T, s *Store, mt string, b []byte) ocispec.Descriptor {
	t.Helper()
	d := descOf(mt, b)
	if err := s.PutBlob(context.Background(), d, bytes.NewReader(b), false); err != nil {
		t.Fatal(err)
	}
	return d
}

// U10: the store is closed to others even where its folder was open.
func TestOpenCloses(t *testing.T) {
	root := filepath.Join(t.TempDir(), "s")
	if err := os.Mkdir(root, 0o777); err != nil {
		t.Fatal(err)
	}
	os.Chmod(root, 0o777)
	reopen(t, root)
	st, err := os.Stat(root)
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Fatalf("mode %v, %v", st.Mode(), err)
	}
}

func TestOpenRefusesUnknownFormat(t *testing.T) {
	s := testStore(t)
	os.WriteFile(s.path("version"), []byte("99\n"), 0o600)
	if _, err := Open(s.root, Options{}); err == nil || strings.Contains(err.Error(), "\n") {
		t.Fatalf("err = %v", err)
	}
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600)
	if _, err := Open(dir, Options{}); err == nil {
		t.Fatal("a foreign folder was taken")
	}
}

func TestBlobs(t *testing.T) {
	ctx, s := context.Background(), testStore(t)
	data := []byte("hello")
	d := descOf("text/plain", data)
	bad := d
	bad.Digest = digest.FromString("other")
	var de *DigestError
	if err := s.PutBlob(ctx, bad, bytes.NewReader(data), true); !errors.As(err, &de) {
		t.Fatalf("wrong digest: %v", err)
	}
	long := d
	long.Size = 3
	if err := s.PutBlob(ctx, long, bytes.NewReader(data), true); err == nil {
		t.Fatal("long content was taken")
	}
	if _, err := s.StatBlob(d.Digest); !errors.Is(err, ErrNotFound) {
		t.Fatalf("stat: %v", err)
	}
	mustPut(t, s, "text/plain", data)
	if !strings.Contains(first(s.find("blobs", d.Digest)), "/boot/") {
		t.Fatal("an unsynced blob lies on the kept shelf")
	}
	if err := s.PutBlob(ctx, d, nil, true); err != nil { // becomes durable without being read again
		t.Fatal(err)
	}
	if p := first(s.find("blobs", d.Digest)); p != s.kept("blobs", d.Digest) {
		t.Fatalf("durable blob lies at %s", p)
	}
	if b, err := s.ReadManifest(d.Digest); err != nil || string(b) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
	os.WriteFile(s.kept("blobs", d.Digest), []byte("hellO"), 0o600)
	if _, err := s.ReadManifest(d.Digest); !errors.As(err, &de) {
		t.Fatalf("rotten blob: %v", err)
	}
	if left, _ := os.ReadDir(s.path("tmp")); len(left) != 0 {
		t.Fatalf("left in tmp: %v", left)
	}
}

func first[A, B any](a A, _ B, _ error) A { return a }

// U20: a digest never becomes a path before it was checked.
func TestBadDigests(t *testing.T) {
	s := testStore(t)
	for _, d := range []digest.Digest{"", "sha256:../../etc/passwd", "sha1:" + digest.Digest(strings.Repeat("a", 40)),
		"sha256:" + digest.Digest(strings.Repeat("a", 63)), "sha256:" + digest.Digest(strings.Repeat("a", 65)),
		"sha256:" + digest.Digest(strings.Repeat("A", 64)), "sha512:" + digest.Digest(strings.Repeat("a", 64)), "sha256:" + digest.Digest(strings.Repeat("a", 63)) + "/"} {
		if _, err := s.OpenBlob(d); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", d, err)
		}
		if _, err := s.CreateBlob(BlobOptions{Expect: ocispec.Descriptor{Digest: d, Size: 1}}); err == nil && d != "" {
			t.Errorf("%q was taken", d)
		}
	}
}

func testConfig(arch string, chain ...digest.Digest) []byte {
	c := map[string]any{"os": "linux", "architecture": arch, "rootfs": map[string]any{"type": "layers", "diff_ids": chain}}
	if chain == nil {
		c["rootfs"] = map[string]any{"type": "layers", "diff_ids": []string{}}
	}
	b, _ := json.Marshal(c)
	return b
}

func TestImagesAndNames(t *testing.T) {
	ctx, s := context.Background(), testStore(t)
	if _, err := s.PutImage(ctx, testConfig("amd64", digest.FromString("x")), nil, PutImageOptions{}); err == nil {
		t.Fatal("a config that names other layers was taken")
	}
	img, err := s.PutImage(ctx, testConfig(HostPlatform().Architecture), Chain{}, PutImageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(ctx, "me/app", ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: img.ID, Size: int64(len(img.Config))}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"me/app", "me/app:latest", "docker.io/me/app", string(img.ID), img.ID.Encoded(), img.ID.Encoded()[:12]} {
		got, err := s.Resolve(name, nil)
		if err != nil || got.ID != img.ID {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
	if _, err := s.Resolve("me/app", &ocispec.Platform{OS: "linux", Architecture: "s390x"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("wrong platform: %v", err)
	}
	if err := s.Tag(ctx, "x", descOf("", []byte("nothing"))); !errors.Is(err, ErrNotFound) {
		t.Errorf("tag of nothing: %v", err)
	}
	if err := s.Untag(ctx, "me/app"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resolve("me/app", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("untagged: %v", err)
	}
}

// U21, U22: documents that two readers would read in two ways.
func TestParseManifestRefuses(t *testing.T) {
	ok := `{"digest":"` + string(digest.FromString("a")) + `","size":1,"mediaType":"x"}`
	for name, doc := range map[string]string{
		"both":     `{"config":` + ok + `,"layers":[],"manifests":[]}`,
		"neither":  `{}`,
		"repeated": `{"config":` + ok + `,"layers":[],"layers":[]}`,
		"case":     `{"config":` + ok + `,"layers":[],"Layers":[]}`,
		"type":     `{"mediaType":"` + ocispec.MediaTypeImageIndex + `","config":` + ok + `,"layers":[]}`,
		"negative": `{"config":{"digest":"` + string(digest.FromString("a")) + `","size":-1},"layers":[]}`,
		"digest":   `{"config":{"digest":"sha256:../x","size":1},"layers":[]}`,
		"data":     `{"config":{"digest":"` + string(digest.FromString("a")) + `","size":1,"data":"Yg=="},"layers":[]}`,
		"trailing": `{"config":` + ok + `,"layers":[]}{}`,
		"deep":     `{"config":` + ok + `,"layers":[],"x":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + `}`,
	} {
		if _, err := ParseManifest("", []byte(doc)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	for _, doc := range []string{`{"schemaVersion":2,"config":` + ok + `,"layers":[` + ok + `]}`, `{"manifests":[` + ok + `]}`,
		`{"config":{"digest":"` + string(digest.FromString("a")) + `","size":1,"data":"YQ=="},"layers":[]}`} {
		if _, err := ParseManifest("", []byte(doc)); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
	}
	if _, err := ParseManifest(DockerManifest, []byte(`{"mediaType":"`+ocispec.MediaTypeImageManifest+`","config":`+ok+`,"layers":[]}`)); err == nil {
		t.Error("a manifest that was called something else was taken")
	}
}

func TestPartialAndUpload(t *testing.T) {
	ctx, s := context.Background(), testStore(t)
	p, err := s.Partial("key")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Partial("key"); !errors.Is(err, ErrBusy) {
		t.Fatalf("second holder: %v", err)
	}
	p.File().WriteString("hel")
	p.SetState([]byte("3"))
	p.Close()
	if p, err = s.Partial("key"); err != nil {
		t.Fatal(err)
	}
	if st, _ := p.State(); string(st) != "3" {
		t.Fatalf("state %q", st)
	}
	p.File().WriteAt([]byte("lo"), 3)
	d := descOf("", []byte("hello"))
	if err := p.Commit(ctx, descOf("", []byte("hellO")), false); err == nil {
		t.Fatal("wrong bytes were taken")
	}
	if err := p.Commit(ctx, d, false); err != nil {
		t.Fatal(err)
	}
	u, err := s.NewUpload("a/b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Append(ctx, 0, strings.NewReader("wor")); err != nil {
		t.Fatal(err)
	}
	u.Close()
	if _, err := s.OpenUpload("a/c", u.ID); !errors.Is(err, ErrNotFound) {
		t.Fatalf("another repository's upload: %v", err)
	}
	if u, err = s.OpenUpload("a/b", u.ID); err != nil {
		t.Fatal(err)
	}
	var oe *OffsetError
	if _, err := u.Append(ctx, 7, strings.NewReader("ld")); !errors.As(err, &oe) {
		t.Fatalf("gap: %v", err)
	}
	u.Append(ctx, 3, strings.NewReader("ld"))
	w := digest.FromString("world")
	if _, err := u.Commit(ctx, w); err != nil {
		t.Fatal(err)
	}
	if !s.HasLink("a/b", w) || s.HasLink("a/c", w) {
		t.Fatal("links are wrong")
	}
	if ids, _ := s.Uploads(); len(ids) != 0 {
		t.Fatalf("uploads left: %v", ids)
	}
}

// TestRecordsAreListed wherever the store lies: its path is no pattern.
func TestRecordsAreListed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[b]*")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, want := testStoreOn(t, dir), map[string]bool{}
	for _, text := range []string{"one", "two"} {
		if err := s.PutRecord(context.Background(), digest.FromString(text), digest.FromString("key"), []byte(text), nil); err != nil {
			t.Fatal(err)
		}
		want[text] = true
	}
	for data := range s.Records() {
		delete(want, string(data))
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
}

func TestRecords(t *testing.T) {
	ctx, s := context.Background(), testStore(t)
	op, key := digest.FromString("op"), digest.FromString("key")
	ref := mustPut(t, s, "", []byte("layer"))
	if err := s.PutRecord(ctx, op, key, []byte("data"), []digest.Digest{ref.Digest}); err != nil {
		t.Fatal(err)
	}
	if b, err := s.Record(op, key); err != nil || string(b) != "data" {
		t.Fatalf("%q, %v", b, err)
	}
	if ks, _ := s.RecordKeys(op); len(ks) != 1 || ks[0] != key {
		t.Fatalf("keys %v", ks)
	}
	path := s.recordPath(op, key)
	whole, _ := os.ReadFile(path)
	os.WriteFile(path, whole[:len(whole)-5], 0o600)
	if _, err := s.Record(op, key); !errors.Is(err, ErrNotFound) {
		t.Fatalf("torn record: %v", err)
	}
	os.WriteFile(path, whole, 0o600)
	os.Remove(first(s.find("blobs", ref.Digest)))
	if _, err := s.Record(op, key); !errors.Is(err, ErrNotFound) {
		t.Fatalf("record of a lost layer: %v", err)
	}
}

func TestParseName(t *testing.T) {
	for in, want := range map[string]string{
		"alpine": "docker.io/library/alpine:latest", "a/b:1": "docker.io/a/b:1", "localhost/x": "localhost/x:latest",
		"h:5000/x": "h:5000/x:latest", "index.docker.io/x": "docker.io/library/x:latest", "a.b/c/d:T_1": "a.b/c/d:T_1",
		"x@" + string(digest.FromString("")): "docker.io/library/x@" + string(digest.FromString("")), "[::1]:80/x": "[::1]:80/x:latest",
		"a__b/c--d.e": "docker.io/a__b/c--d.e:latest", "Host/x": "Host/x:latest",
	} {
		n, err := ParseName(in)
		if err != nil || n.String() != want {
			t.Errorf("%q: %q, %v", in, n, err)
		}
	}
	for _, in := range []string{"", "A", "a/B", "/a", "a/", "a//b", "a..b", "a___b", "a:", "a:-x", "a@sha256:zz", "-a", "a-", "h:x/a", "a:" + strings.Repeat("x", 129),
		strings.Repeat("a", 300), strings.Repeat("a", 64), "a b", "a\n", "../a", "h:99999999/a", "a@", "https://a/b"} {
		if n, err := ParseName(in); err == nil {
			t.Errorf("%q was taken as %q", in, n)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"alpine", "h:5000/a/b:t@" + string(digest.FromString("")), "[::1]:5/x", "a.b/library/x", "docker.io/a.b/c", "0:_.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			return
		}
		for _, again := range []string{n.String(), n.Familiar()} {
			if m, err := ParseName(again); err != nil || m != n {
				t.Fatalf("%q gives %+v, but its %q gives %+v, %v", s, n, again, m, err)
			}
		}
		// Two dots are fine within a tag, which is one part of a path.
		if strings.ContainsAny(n.String(), " \n\x00\\") || strings.Contains(n.Registry+"/"+n.Repository, "..") ||
			strings.HasPrefix(n.Tag, ".") || strings.Contains(n.Tag, "/") {
			t.Fatalf("%q is not safe", n)
		}
	})
}

// emptyTar is a tar with one file.
func emptyTar(name string) []byte {
	var b bytes.Buffer
	w := diff.NewWriter(&b, diff.PackOptions{})
	if err := w.WriteEntry(diff.Entry{Path: name, Type: '0', Mode: 0o644, Size: 4}, strings.NewReader("text")); err != nil {
		panic(err)
	}
	if _, err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func testStoreOn(t *testing.T, dir string) *Store { return reopen(t, filepath.Join(dir, "s")) }

// testLayerOf puts a tar as a layer of ours.
func testLayerOf(t *testing.T, s *Store, raw []byte) digest.Digest {
	t.Helper()
	return testLayer(t, s, string(raw))
}

// TestOpenSideBySide is the loser's part of two processes that make one store: it
// saw no version, and finds a store that is finished and used.
func TestOpenSideBySide(t *testing.T) {
	root := t.TempDir()
	first, err := Open(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if err := os.WriteFile(filepath.Join(root, "events"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second := &Store{root: root}
	if err := second.create(); err != nil {
		t.Fatalf("make a store that another made meanwhile: %v", err)
	}
}
