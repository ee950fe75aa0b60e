package source

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/lockfile"
	"golang.org/x/sys/unix"
)

// StatCache remembers the digests of one local folder's files between builds, so that a build in which nothing changed
// reads no file. Each context has a file of its own, so that projects that take turns do not forget each other.
// An entry is trusted when path, device, inode, size, mtime and ctime are what they were, and when the file had been
// left alone for longer than its file system's clock can tell before it was hashed (as git does with racily clean
// files): else a second write within one tick would go unseen. A nil StatCache knows nothing.
type StatCache struct {
	path string
	once sync.Once
	old  []byte     // records, sorted by name; read when a digest is first asked for
	mu   sync.Mutex // guards what follows
	used []bool     // of the records of old
	more map[fileID]diff.Sum
}

// fileID is all that says that a file is still the same.
type fileID struct {
	Name, Dev, Ino, Size uint64
	Mtime, Ctime         int64
}

const (
	statMagic  = "hodstat3"
	recordSize = 6*8 + 32
	statLimit  = 256 << 20
	// statFiles and statAge bound how many contexts are remembered, and for how long without a change to them.
	statFiles = 64
	statAge   = 60 * 24 * time.Hour
)

func idOf(st *unix.Stat_t) fileID {
	return fileID{Dev: uint64(st.Dev), Ino: st.Ino, Size: uint64(st.Size), Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano()}
}

func (id fileID) named(p string) fileID {
	h := fnv.New64a()
	io.WriteString(h, p)
	id.Name = h.Sum64()
	return id
}

// settled says whether a file that looks like this at the time now cannot change any more without looking different.
func (id fileID) settled(now time.Time) bool {
	tick := int64(20 * time.Millisecond)
	if id.Ctime%int64(time.Second) == 0 {
		tick = int64(2 * time.Second)
	}
	return max(id.Ctime, id.Mtime)+tick < now.UnixNano()
}

// OpenStatCache gives the cache of a context, which lies in the folder dir under the context's device and inode. Nothing
// is read yet.
func OpenStatCache(dir string, f *Folder) (*StatCache, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.dir.Fd()), &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: f.name, Err: err}
	}
	name := fmt.Sprintf("%x-%x", st.Dev, st.Ino)
	return &StatCache{path: filepath.Join(dir, name), more: map[fileID]diff.Sum{}}, nil
}

// load reads the file; one that is missing or damaged is an empty cache, since it only saves time.
func (c *StatCache) load() {
	st, err := os.Stat(c.path)
	if err != nil || st.Size() > statLimit {
		return
	}
	data, err := os.ReadFile(c.path)
	if err != nil || len(data) < 16 || string(data[:8]) != statMagic || binary.LittleEndian.Uint64(data[8:]) != checksum(data[16:]) {
		return
	}
	c.old = data[16:]
	c.used = make([]bool, len(c.old)/recordSize)
	if time.Since(st.ModTime()) > statAge/4 {
		_ = os.Chtimes(c.path, time.Time{}, time.Now())
	}
}

// encode appends the words of an ID, which decodeID reads.
func (id fileID) encode(data []byte) []byte {
	for _, n := range [...]uint64{id.Name, id.Dev, id.Ino, id.Size, uint64(id.Mtime), uint64(id.Ctime)} {
		data = binary.LittleEndian.AppendUint64(data, n)
	}
	return data
}

func decodeID(data []byte) fileID {
	n := func(i int) uint64 { return binary.LittleEndian.Uint64(data[8*i:]) }
	return fileID{Name: n(0), Dev: n(1), Ino: n(2), Size: n(3), Mtime: int64(n(4)), Ctime: int64(n(5))}
}

// checksum is of the polynomial for which processors have an instruction.
func checksum(data []byte) uint64 {
	return uint64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}

func (c *StatCache) find(id fileID) (diff.Sum, bool) {
	if c == nil {
		return diff.Sum{}, false
	}
	c.once.Do(c.load)
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := c.search(id.Name); at+recordSize <= len(c.old); at += recordSize {
		old := decodeID(c.old[at:])
		if old.Name != id.Name {
			break
		}
		if old == id {
			c.used[at/recordSize] = true
			return diff.Sum(c.old[at+recordSize-32:]), true
		}
	}
	s, ok := c.more[id]
	return s, ok
}

// search gives the offset of the first record whose name is not less.
func (c *StatCache) search(name uint64) int {
	low, high := 0, len(c.old)/recordSize
	for low < high {
		if mid := (low + high) / 2; binary.LittleEndian.Uint64(c.old[mid*recordSize:]) < name {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low * recordSize
}

func (c *StatCache) put(id fileID, s diff.Sum) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.more[id] = s
}

// Save writes what is new. Records of files that have changed go, and so do those that this build had no use for, once
// they are many. Of the contexts' files those that were not used for longest go, beyond a number and an age.
func (c *StatCache) Save() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.more) == 0 {
		return nil
	}
	records := c.records()
	data := append(make([]byte, 0, 16+len(records)), statMagic...)
	data = append(binary.LittleEndian.AppendUint64(data, checksum(records)), records...)
	dir := filepath.Dir(c.path)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write stat cache: %w", err)
	}
	if err := lockfile.AtomicWrite(c.path, data, 0o600, false); err != nil {
		return fmt.Errorf("write stat cache: %w", err)
	}
	return forget(dir, statFiles, time.Now())
}

// records gives what the next file holds, sorted.
func (c *StatCache) records() []byte {
	changed, unused := map[uint64]bool{}, 0
	for id := range c.more {
		changed[id.Name] = true
	}
	for _, used := range c.used {
		if !used {
			unused++
		}
	}
	many := unused > len(c.used)/2+4096
	all := make([][]byte, 0, len(c.used)+len(c.more))
	for i, used := range c.used {
		r := c.old[i*recordSize:][:recordSize]
		if !changed[binary.LittleEndian.Uint64(r)] && (used || !many) {
			all = append(all, r)
		}
	}
	for id, s := range c.more {
		all = append(all, append(id.encode(make([]byte, 0, recordSize)), s[:]...))
	}
	slices.SortFunc(all, func(a, b []byte) int {
		return cmp.Or(cmp.Compare(binary.LittleEndian.Uint64(a), binary.LittleEndian.Uint64(b)), bytes.Compare(a, b))
	})
	return bytes.Join(all, nil)
}

// forget removes the files of contexts, or of URLs, that nobody builds any more: the oldest beyond a number.
func forget(dir string, most int, now time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return err
	}
	var files []fs.FileInfo
	for _, e := range entries {
		if st, err := e.Info(); err == nil {
			files = append(files, st)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for i, f := range files {
		if i < most && now.Sub(f.ModTime()) < statAge {
			continue
		}
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget stat cache: %w", err)
		}
	}
	return nil
}

// Until reads r until ctx is done, which is then the error.
func Until(ctx context.Context, r io.Reader) io.Reader { return &until{ctx, r} }

type until struct {
	ctx context.Context // of one reading
	r   io.Reader
}

// Read reads from what lies below.
func (u *until) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
