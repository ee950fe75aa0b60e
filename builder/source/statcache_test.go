package source

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func sumOf(t *testing.T, c *StatCache, f *Folder, p string) digest.Digest {
	t.Helper()
	e, err := f.Lstat(p)
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.Digest(t.Context(), f, e)
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
	c, err := OpenStatCache(filepath.Join(t.TempDir(), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10000 {
		content := []byte{byte(i), byte(i >> 8)}
		os.WriteFile(p, content, 0o644)
		os.Chtimes(p, when, when)
		if got := sumOf(t, c, f, "f"); got != digest.FromBytes(content) {
			t.Fatalf("rewrite %d: stale digest", i)
		}
	}
}

func TestStatCacheHits(t *testing.T) {
	f, dir := folder(t, "f")
	time.Sleep(2100 * time.Millisecond) // the cache trusts what has been left alone for longer than a clock's tick
	path := filepath.Join(t.TempDir(), "stat")
	c, _ := OpenStatCache(path)
	want := sumOf(t, c, f, "f")
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	c, _ = OpenStatCache(path)
	e, _ := f.Lstat("f")
	if got, err := c.Digest(t.Context(), unreadable{f}, e); err != nil || got != want {
		t.Fatalf("the file was read again: %v", err)
	}
	os.WriteFile(filepath.Join(dir, "f"), []byte("g"), 0o644)
	if sumOf(t, c, f, "f") == want {
		t.Error("stale digest after a change")
	}
	data, _ := os.ReadFile(path)
	data[20] ^= 1
	os.WriteFile(path, data, 0o600)
	if c, err := OpenStatCache(path); err != nil || len(c.old) != 0 {
		t.Errorf("a damaged cache was believed: %d entries, %v", len(c.old), err)
	}
}

type unreadable struct{ *Folder }

func (unreadable) Open(string) (io.ReadCloser, error) { return nil, os.ErrPermission }
