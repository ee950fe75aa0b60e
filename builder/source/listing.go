package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/opencontainers/go-digest"
)

// ErrChanged is a file that is not what it was when the context was listed.
var ErrChanged = errors.New("the file changed while it was read")

// Listing is a tree that is looked at once. What it said of a name, or of a folder's names, it says for as long as it
// lives, so that the key of a step and the layer of that step are made of one and the same list, and so that several
// steps that copy the same folder list it once. Folders are listed when somebody first asks, and no others. It knows the
// digests of the files that were hashed or packed, too. What changed on disk meanwhile is found when the content is read:
// [Digest] and [Confirm] then give [ErrChanged].
type Listing struct {
	files Files
	sums  *StatCache // nil: digests are known for as long as the listing lives

	mu      sync.Mutex // guards the maps; a folder's own lock is taken without it
	folders map[string]*listed
	digests map[string]diff.Sum // those that sums does not have
}

// listed is what was seen of one folder.
type listed struct {
	mu    sync.Mutex // guards what follows
	done  bool       // all names were listed
	list  []Entry
	err   error
	names map[string]looked // those that were asked for one by one before
}

type looked struct {
	e   Entry
	err error
}

// NewListing begins a listing of a tree, of which sums remembers digests from build to build, or is nil.
func NewListing(files Files, sums *StatCache) *Listing {
	return &Listing{files: files, sums: sums, folders: map[string]*listed{}, digests: map[string]diff.Sum{}}
}

func (l *Listing) folder(p string) *listed {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.folders[p]
	if f == nil {
		f = &listed{}
		l.folders[p] = f
	}
	return f
}

// Lstat describes one entry, see [Files].
func (l *Listing) Lstat(p string) (Entry, error) {
	above := parent(p)
	if p == "" {
		above = ".." // of which no folder is listed
	}
	f := l.folder(above)
	f.mu.Lock()
	defer f.mu.Unlock()
	if seen, ok := f.names[p]; ok {
		return seen.e, seen.err
	}
	if f.done && f.err == nil {
		if i, ok := slices.BinarySearchFunc(f.list, p, byPath); ok {
			return f.list[i], nil
		}
		return Entry{}, notExist("stat", p)
	}
	e, err := l.files.Lstat(p)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		if f.names == nil {
			f.names = map[string]looked{}
		}
		f.names[p] = looked{e, err}
	}
	return e, err
}

// ReadDir lists a folder, see [Files]. The caller does not change the list.
func (l *Listing) ReadDir(p string) ([]Entry, error) {
	f := l.folder(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done {
		return f.list, f.err
	}
	f.list, f.err = l.files.ReadDir(p)
	for name, seen := range f.names { // what was said stays true
		i, ok := slices.BinarySearchFunc(f.list, name, byPath)
		switch {
		case f.err != nil:
		case seen.err != nil && ok:
			f.list = slices.Delete(f.list, i, i+1)
		case seen.err == nil && ok:
			f.list[i] = seen.e
		case seen.err == nil:
			f.list = slices.Insert(f.list, i, seen.e)
		}
	}
	f.done = f.err == nil || errors.Is(f.err, fs.ErrNotExist)
	return f.list, f.err
}

func byPath(e Entry, p string) int { return strings.Compare(e.Path, p) }

// Open reads a file as it is now, see [Files].
func (l *Listing) Open(p string) (io.ReadCloser, error) {
	r, err := l.files.Open(p)
	if errors.Is(err, fs.ErrNotExist) {
		if _, there := l.Lstat(p); there == nil {
			return nil, ErrChanged
		}
	}
	return r, err
}

// Digest gives the digest of a file's content: what a listing or its stat cache knows, else by reading it. The entry is
// the tree's own. A file that is another one by now is [ErrChanged].
func Digest(ctx context.Context, f Files, e Entry) (digest.Digest, error) {
	if e.Digest != (diff.Sum{}) {
		return e.Digest.Digest(), nil
	}
	l, _ := f.(*Listing)
	if s, ok := l.known(e); ok {
		return s.Digest(), nil
	}
	now := time.Now()
	s, err := hash(ctx, f, e)
	if err != nil {
		return "", fmt.Errorf("hash %q: %w", "/"+e.Path, err)
	}
	return s.Digest(), l.remember(e, s, now)
}

// Confirm takes the digest s that a file's content had when a layer was made of it, from which on it was read. One that
// differs from what the listing said before is [ErrChanged]; a key was made of that.
func Confirm(f Files, e Entry, s diff.Sum, from time.Time) error {
	l, ok := f.(*Listing)
	if !ok || e.Digest != (diff.Sum{}) {
		return nil
	}
	if was, ok := l.known(e); ok && was != s {
		return fmt.Errorf("read %q: %w", "/"+e.Path, ErrChanged)
	}
	return l.remember(e, s, from)
}

// known gives the digest of an entry's content; a nil listing knows none.
func (l *Listing) known(e Entry) (diff.Sum, bool) {
	if l == nil {
		return diff.Sum{}, false
	}
	l.mu.Lock()
	s, ok := l.digests[e.Path]
	l.mu.Unlock()
	if ok || e.stat.Ino == 0 {
		return s, ok
	}
	return l.sums.find(e.stat.named(e.Path))
}

// remember keeps the digest of a file that was read since the given time.
func (l *Listing) remember(e Entry, s diff.Sum, from time.Time) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if was, ok := l.digests[e.Path]; ok && was != s {
		return fmt.Errorf("read %q: %w", "/"+e.Path, ErrChanged)
	}
	if l.sums != nil && e.stat.Ino != 0 && e.stat.settled(from) {
		l.sums.put(e.stat.named(e.Path), s)
		return nil
	}
	l.digests[e.Path] = s
	return nil
}

func hash(ctx context.Context, f Files, e Entry) (diff.Sum, error) {
	r, err := f.Open(e.Path)
	if err != nil {
		return diff.Sum{}, err
	}
	defer r.Close()
	d := digest.SHA256.Digester()
	n, err := io.CopyBuffer(d.Hash(), Until(ctx, r), make([]byte, min(e.Size+1, 64<<10)))
	if err != nil {
		return diff.Sum{}, err
	}
	if n != e.Size || Changed(r, e) {
		return diff.Sum{}, ErrChanged
	}
	return diff.Sum(d.Hash().Sum(nil)), nil
}
