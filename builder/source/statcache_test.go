package source

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func digestOf(t *testing.T, c *StatCache, f *Folder, p string) digest.Digest {
	t.Helper()
	e, err := f.Lstat(p)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Digest(t.Context(), NewListing(f, c), e)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Rewriting a file at the same size with its mtime put back is never taken for the old file.
func TestStatCacheIsNeverStale(t *testing.T) {
	f, dir := folder(t, "f")
	p := filepath.Join(dir, "f")
	when := time.Now().Add(-time.Hour)
	c, err := OpenStatCache(t.TempDir(), f)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10000 {
		content := []byte{byte(i), byte(i >> 8)}
		os.WriteFile(p, content, 0o644)
		os.Chtimes(p, when, when)
		if got := digestOf(t, c, f, "f"); got != digest.FromBytes(content) {
			t.Fatalf("rewrite %d: stale digest", i)
		}
	}
}

func TestStatCacheHits(t *testing.T) {
	f, dir := folder(t, "f")
	time.Sleep(2100 * time.Millisecond) // the cache trusts what has been left alone for longer than a clock's tick
	sums := t.TempDir()
	c, _ := OpenStatCache(sums, f)
	want := digestOf(t, c, f, "f")
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	c, _ = OpenStatCache(sums, f)
	e, _ := f.Lstat("f")
	if got, err := Digest(t.Context(), NewListing(unreadable{f}, c), e); err != nil || got != want {
		t.Fatalf("the file was read again: %v", err)
	}
	os.WriteFile(filepath.Join(dir, "f"), []byte("g"), 0o644)
	if digestOf(t, c, f, "f") == want {
		t.Error("stale digest after a change")
	}
	data, _ := os.ReadFile(c.path)
	data[20] ^= 1
	os.WriteFile(c.path, data, 0o600)
	c, _ = OpenStatCache(sums, f)
	if c.load(); len(c.old) != 0 {
		t.Errorf("a damaged cache was believed: %d bytes", len(c.old))
	}
}

type unreadable struct{ *Folder }

func (unreadable) Open(string) (io.ReadCloser, error) { return nil, os.ErrPermission }
