package source

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// counted counts how often a tree is listed, and by which paths it was asked.
type counted struct {
	Files
	asked []string
}

func (c *counted) ReadDir(p string) ([]Entry, error) {
	c.asked = append(c.asked, "list "+p)
	return c.Files.ReadDir(p)
}

func (c *counted) Lstat(p string) (Entry, error) {
	c.asked = append(c.asked, "stat "+p)
	return c.Files.Lstat(p)
}

// TestListingLooksOnce adds, removes and grows files after a listing has spoken of them.
func TestListingLooksOnce(t *testing.T) {
	f, dir := folder(t, "d/a", "d/b", "d/lone", "e/c")
	tree := &counted{Files: f}
	l := NewListing(tree, nil)
	if _, err := l.Lstat("d/lone"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Lstat("d/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(dir, "d/lone"))
	os.WriteFile(filepath.Join(dir, "d/none"), nil, 0o644)
	if got := names(t, l, "d"); got != "d/a d/b d/lone" {
		t.Errorf("the folder and its names disagree: %q", got)
	}
	os.Remove(filepath.Join(dir, "d/a"))
	os.WriteFile(filepath.Join(dir, "d/new"), nil, 0o644)
	os.WriteFile(filepath.Join(dir, "d/b"), []byte("longer than it was"), 0o644)
	if got := names(t, l, "d"); got != "d/a d/b d/lone" {
		t.Errorf("the second look saw %q", got)
	}
	if e, err := l.Lstat("d/b"); err != nil || e.Size != 3 {
		t.Errorf("d/b: %+v, %v", e, err)
	}
	if _, err := l.Lstat("d/new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("d/new: %v", err)
	}
	if got := strings.Join(tree.asked, ", "); got != "stat d/lone, stat d/none, list d" {
		t.Errorf("it looked too often: %s", got)
	}
}

// flips is a tree whose file has other bytes of the same size each time.
type flips struct {
	Files
	n byte
}

func (f *flips) Open(string) (io.ReadCloser, error) {
	f.n++
	return io.NopCloser(strings.NewReader(string([]byte{f.n}))), nil
}

// TestConfirm holds that content of which a key was made is the content of the layer, also where sizes and times agree.
func TestConfirm(t *testing.T) {
	tree := &flips{Files: NewFile("f", 0o644, time.Time{}, []byte{0})}
	l := NewListing(tree, nil)
	e, err := l.Lstat("f")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if d, err := Digest(t.Context(), l, e); err != nil || d != digest.FromBytes([]byte{1}) {
			t.Fatalf("%s, %v", d, err)
		}
	}
	if err := Confirm(l, e, sha256.Sum256([]byte{1}), time.Now()); err != nil {
		t.Error(err)
	}
	if err := Confirm(l, e, sha256.Sum256([]byte{2}), time.Now()); !errors.Is(err, ErrChanged) {
		t.Errorf("other content was confirmed: %v", err)
	}
}

// TestTwoContextsAlternate has two projects take turns: neither is hashed again, and what a build had no use for stays.
func TestTwoContextsAlternate(t *testing.T) {
	sums := t.TempDir()
	one, _ := folder(t, "a", "b")
	two, _ := folder(t, "a", "b")
	time.Sleep(2100 * time.Millisecond) // see TestStatCacheHits
	for round, names := range [][]string{{"a", "b"}, {"a"}, {"a", "b"}} {
		for _, f := range []*Folder{one, two} {
			c, err := OpenStatCache(sums, f)
			if err != nil {
				t.Fatal(err)
			}
			var tree Files = f
			if round > 0 {
				tree = unreadable{f}
			}
			l := NewListing(tree, c)
			for _, name := range names {
				e, err := l.Lstat(name)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Digest(t.Context(), l, e); err != nil {
					t.Errorf("round %d: %s was read again: %v", round, name, err)
				}
			}
			if err := c.Save(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestStatCachesAreBounded makes too many and too old ones.
func TestStatCachesAreBounded(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	for i := range statFiles + 5 {
		name := filepath.Join(dir, string(rune('A'+i)))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		when := now.Add(-time.Duration(i) * time.Minute)
		if i == 3 {
			when = now.Add(-2 * statAge)
		}
		os.Chtimes(name, when, when)
	}
	if err := forget(dir, statFiles, now); err != nil {
		t.Fatal(err)
	}
	left, _ := os.ReadDir(dir)
	if len(left) != statFiles {
		t.Errorf("%d are left", len(left))
	}
	if _, err := os.Stat(filepath.Join(dir, "D")); err == nil {
		t.Error("an old one is left")
	}
}
