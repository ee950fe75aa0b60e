package layers

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// testLayer puts a layer of ours that lies as a tar.
func testLayer(t *testing.T, s *Store, content string) digest.Digest {
	t.Helper()
	w, err := s.newLayer(LayerOptions{Packed: "1", SelfContained: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.Write([]byte(content))
	info, err := w.commit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return info.DiffID
}

func testImage(t *testing.T, s *Store, content, name string) *Image {
	t.Helper()
	d := testLayer(t, s, content)
	img, err := s.PutImage(context.Background(), testConfig("amd64", d), Chain{d}, PutImageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if name != "" {
		if err := s.Tag(context.Background(), name, descOf(ocispec.MediaTypeImageConfig, img.Config)); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

func mustCollect(t *testing.T, s *Store, o CollectOptions) CollectResult {
	t.Helper()
	res, err := s.Collect(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func clean(t *testing.T, s *Store) {
	t.Helper()
	r, err := s.Check(context.Background(), CheckOptions{})
	if err != nil || len(r.Problems) > 0 {
		t.Fatalf("check: %v, %v", r.Problems, err)
	}
}

func TestCollectKeepsAndRemoves(t *testing.T) {
	root := filepath.Join(t.TempDir(), "s")
	s := reopen(t, root)
	named, dangling, run := testImage(t, s, "a", "named"), testImage(t, s, "b", ""), testImage(t, s, "c", "")
	os.MkdirAll(s.path("containers/x"), 0o700)
	roots, _ := json.Marshal([]digest.Digest{run.ID})
	os.WriteFile(s.path("containers/x/roots.json"), roots, 0o600)
	ref := testLayer(t, s, "cached")
	op := digest.FromString("op")
	s.PutRecord(context.Background(), op, op, []byte("x"), []digest.Digest{ref})
	orphan := mustPut(t, s, "", []byte("orphan"))

	other := reopen(t, root)
	if res := mustCollect(t, other, CollectOptions{Dangling: true}); len(res.Images)+len(res.Objects) != 0 {
		t.Fatalf("a live process's objects went: %+v", res)
	}
	s.Close()
	res := mustCollect(t, other, CollectOptions{DryRun: true, Dangling: true})
	if !slices.Equal(res.Images, []digest.Digest{dangling.ID}) || !slices.Contains(res.Objects, orphan.Digest) || res.Bytes == 0 {
		t.Fatalf("dry run: %+v", res)
	}
	if mustCollect(t, other, CollectOptions{}); !other.exists(dangling.Chain[0]) || other.exists(orphan.Digest) {
		t.Fatal("the plain collection is wrong")
	}
	if mustCollect(t, other, CollectOptions{Dangling: true}); other.exists(dangling.ID) || other.exists(dangling.Chain[0]) {
		t.Fatal("the dangling image stayed")
	}
	clean(t, other)
	if !other.exists(ref) || !other.exists(run.Chain[0]) {
		t.Fatal("a cached layer or a container's image went")
	}
	if mustCollect(t, other, CollectOptions{All: true, Cache: true}); other.exists(ref) || other.exists(named.ID) || !other.exists(run.ID) {
		t.Fatal("All is wrong")
	}
	if _, err := other.Resolve("named", nil); !errors.Is(err, ErrNotFound) {
		t.Fatalf("name of a collected image: %v", err)
	}
	clean(t, other)
}

// An image that was resolved is held by the one who resolved it.
func TestCollectLeavesResolved(t *testing.T) {
	root := filepath.Join(t.TempDir(), "s")
	a := reopen(t, root)
	testImage(t, a, "x", "x")
	a.Close()
	b, c := reopen(t, root), reopen(t, root)
	img, err := b.Resolve("x", nil)
	if err != nil {
		t.Fatal(err)
	}
	mustCollect(t, c, CollectOptions{All: true})
	if !c.exists(img.Chain[0]) {
		t.Fatal("a resolved image's layer went")
	}
	b.Close()
	mustCollect(t, c, CollectOptions{All: true, Dangling: true})
	if c.exists(img.Chain[0]) {
		t.Fatal("the layer stayed without a reason")
	}
}

func TestCollectLeftovers(t *testing.T) {
	root := filepath.Join(t.TempDir(), "s")
	s := reopen(t, root)
	os.MkdirAll(s.path("boot/other/blobs/sha256"), 0o700)
	os.WriteFile(s.path("boot/other/blobs/sha256", digest.FromString("x").Encoded()), []byte("torn"), 0o600)
	os.WriteFile(s.path("tmp/dead.x"), make([]byte, 1<<16), 0o600)
	os.WriteFile(s.path("statcache"), []byte("of a former hod"), 0o600)
	p, _ := s.Partial("old")
	p.Close()
	old := time.Now().Add(-2 * expiry)
	os.Chtimes(filepath.Join(p.dir, "data"), old, old)
	os.Chtimes(p.dir, old, old)
	w, _ := s.CreateBlob(BlobOptions{}) // unfinished, by a live process
	defer w.Close()
	deep := s.path("trash/deep")
	os.MkdirAll(deep, 0o700)
	for at, i := deep, 0; i < 300; i++ {
		at = filepath.Join(at, "dddddddddddddd")
		if len(at) > 3900 {
			break
		}
		os.Mkdir(at, 0o700)
	}
	c := reopen(t, root)
	mustCollect(t, c, CollectOptions{})
	for _, gone := range []string{"boot/other", "tmp/dead.x", "trash/deep", "statcache"} {
		if c.has(c.path(gone)) {
			t.Errorf("%s stayed", gone)
		}
	}
	if c.has(p.dir) {
		t.Error("an expired journal stayed")
	}
	if left, _ := os.ReadDir(c.path("trash")); len(left) > 0 {
		t.Errorf("left in the trash: %v", left)
	}
	if _, err := w.Commit(context.Background()); err != nil {
		t.Errorf("a live process's file went: %v", err)
	}
}

func TestKeepBytes(t *testing.T) {
	root := filepath.Join(t.TempDir(), "s")
	s := reopen(t, root)
	named := testImage(t, s, "n", "named")
	for i := range 10 {
		d := testLayer(t, s, strings.Repeat(strconv.Itoa(i), 1<<20))
		k := digest.FromString(strconv.Itoa(i))
		s.PutRecord(context.Background(), k, k, nil, []digest.Digest{d})
		when := time.Now().Add(time.Duration(i-20) * time.Hour)
		os.Chtimes(s.recordPath(k, k), when, when)
	}
	s.Close()
	c := reopen(t, root)
	res := mustCollect(t, c, CollectOptions{Cache: true, KeepBytes: 4 << 20})
	if u, _ := c.Usage(context.Background()); u.Total > 4<<20 || res.Left > 4<<20 || res.Records == 10 {
		t.Fatalf("%d bytes left, %+v", u.Total, res)
	}
	young, old := digest.FromString("9"), digest.FromString("0")
	if _, err := c.Record(young, young); err != nil {
		t.Errorf("the youngest record went: %v", err)
	}
	if _, err := c.Record(old, old); err == nil {
		t.Error("the oldest record stayed")
	}
	if !c.exists(named.Chain[0]) {
		t.Error("an image went")
	}
	clean(t, c)
}

// hod df says what du says.
func TestUsageIsDu(t *testing.T) {
	du, err := exec.LookPath("du")
	if err != nil {
		t.Skip("no du here")
	}
	s := testStore(t)
	testImage(t, s, strings.Repeat("x", 3<<20), "a")
	os.Link(first(s.find("layers", digest.FromString(strings.Repeat("x", 3<<20))))+"/tar", s.path("tmp/again"))
	mustPut(t, s, "", make([]byte, 1<<20))
	u, err := s.Usage(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(du, "-s", "-B1", s.root).Output()
	if err != nil {
		t.Fatal(err)
	}
	want, _ := strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
	if diff := u.Total - want; diff > want/100 || -diff > want/100 {
		t.Fatalf("%d, du says %d: %+v", u.Total, want, u)
	}
	if u.Images.Bytes < 3<<20 || u.Other.Reclaimable < 1<<20 {
		t.Fatalf("%+v", u)
	}
}

func TestWhy(t *testing.T) {
	ctx, s := context.Background(), testStore(t)
	img := testImage(t, s, "x", "x")
	lines, err := s.Why(ctx, img.Chain[0].Encoded()[:10])
	if err != nil || !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "name docker.io/library/x:latest -> "+short(img.ID)) }) {
		t.Fatalf("%q, %v", lines, err)
	}
	if _, err := s.Why(ctx, "nothing"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

// Every flipped bit is found, named, and repaired as far as that can be.
func TestCheckFindsRot(t *testing.T) {
	s := testStore(t)
	img := testImage(t, s, "layer content", "x")
	blob := mustPut(t, s, "", []byte("some blob"))
	clean(t, s)
	for name, path := range map[string]string{
		"blob": first(s.find("blobs", blob.Digest)), "tar": first(s.find("layers", img.Chain[0])) + "/tar",
		"config": s.kept("blobs", img.ID), "info": first(s.find("layers", img.Chain[0])) + "/info", "image": s.imagePath(img.ID),
	} {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rotten := slices.Clone(whole)
		rotten[0] ^= 0x10
		os.WriteFile(path, rotten, 0o600)
		if r, err := s.Check(context.Background(), CheckOptions{}); err != nil || len(r.Problems) == 0 {
			t.Errorf("%s: %v, %v", name, r, err)
		}
		os.WriteFile(path, nil, 0o600)
		if r, err := s.Check(context.Background(), CheckOptions{}); err != nil || len(r.Problems) == 0 {
			t.Errorf("%s cut: %v, %v", name, r, err)
		}
		os.WriteFile(path, whole, 0o600)
	}
	clean(t, s)
	os.WriteFile(first(s.find("blobs", blob.Digest)), []byte("rotten"), 0o600)
	if r, err := s.Check(context.Background(), CheckOptions{Repair: true}); err != nil || len(r.Problems) != 1 || !r.Problems[0].Repaired {
		t.Fatalf("%+v, %v", r, err)
	}
	clean(t, s)
}

func TestCacheMounts(t *testing.T) {
	ctx, s := context.Background(), testStore(t)
	a, freeA, err := s.CacheMount(ctx, "id", Shared)
	if err != nil {
		t.Fatal(err)
	}
	b, freeB, _ := s.CacheMount(ctx, "id", Shared)
	if a != b {
		t.Fatal("two shared folders")
	}
	p, freeP, err := s.CacheMount(ctx, "id", Private)
	if err != nil || p == a {
		t.Fatalf("private: %q, %v", p, err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, _, err := s.CacheMount(short, "id", Locked); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("locked: %v", err)
	}
	if err := s.RemoveCacheMount("id"); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	freeA()
	freeB()
	freeP()
	if err := s.RemoveCacheMount("id"); err != nil {
		t.Fatal(err)
	}
	if ids, _ := s.CacheMounts(); len(ids) != 0 {
		t.Fatal(ids)
	}
}
