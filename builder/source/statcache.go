package source

import (
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
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// StatCache remembers the digests of local files between builds, so that a build in which nothing changed reads no file.
// An entry is trusted when path, device, inode, size, mtime and ctime are what they were, and when the file had been
// left alone for longer than its file system's clock can tell before it was hashed (as git does with racily clean
// files): else a second write within one tick would go unseen. A nil StatCache hashes every time.
type StatCache struct {
	path string
	mu   sync.Mutex // guards the maps
	old  map[fileID]sum
	used map[fileID]sum
	miss bool
}

type sum [32]byte

// fileID is all that says that a file is still the same.
type fileID struct {
	Name, Dev, Ino, Size uint64
	Mtime, Ctime         int64
}

const (
	statMagic  = "hodstat2"
	recordSize = 6*8 + 32
	statLimit  = 256 << 20
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

// OpenStatCache reads the cache file at path; one that is missing or damaged is an empty cache.
func OpenStatCache(path string) (*StatCache, error) {
	c := &StatCache{path: path, old: map[fileID]sum{}, used: map[fileID]sum{}}
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && st.Size() > statLimit {
		return c, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read stat cache: %w", err)
	}
	if len(data) < 16 || string(data[:8]) != statMagic || binary.LittleEndian.Uint64(data[8:]) != checksum(data[16:]) {
		return c, nil
	}
	data = data[16:]
	c.old = make(map[fileID]sum, len(data)/recordSize)
	for ; len(data) >= recordSize; data = data[recordSize:] {
		c.old[decodeID(data)] = sum(data[recordSize-32:])
	}
	return c, nil
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

// Save writes the entries that were used since the cache was opened, if there are new ones.
func (c *StatCache) Save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.miss {
		return nil
	}
	data := make([]byte, 16, 16+len(c.used)*recordSize)
	copy(data, statMagic)
	for id, s := range c.used {
		data = append(id.encode(data), s[:]...)
	}
	binary.LittleEndian.PutUint64(data[8:], checksum(data[16:]))
	return c.write(data)
}

func (c *StatCache) write(data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(c.path), ".stat-")
	if err != nil {
		return fmt.Errorf("write stat cache: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write stat cache: %w", err)
	}
	return os.Rename(f.Name(), c.path)
}

// Digest gives the digest of a file's content. A file that changes while it is hashed is an error.
func (c *StatCache) Digest(ctx context.Context, f Files, e Entry) (digest.Digest, error) {
	if e.Digest != "" {
		return e.Digest, nil
	}
	id := e.stat.named(e.Path)
	if c != nil && e.stat.Ino != 0 {
		if s, ok := c.find(id); ok {
			return digest.NewDigestFromBytes(digest.SHA256, s[:]), nil
		}
	}
	now := time.Now()
	r, err := f.Open(e.Path)
	if err != nil {
		return "", err
	}
	defer r.Close()
	d := digest.SHA256.Digester()
	n, err := io.CopyBuffer(d.Hash(), Until(ctx, r), make([]byte, min(e.Size+1, 64<<10)))
	if err != nil {
		return "", fmt.Errorf("hash %q: %w", "/"+e.Path, err)
	}
	if n != e.Size {
		return "", fmt.Errorf("hash %q: the file changed while it was read", "/"+e.Path)
	}
	if file, ok := r.(*os.File); ok && c != nil && e.stat.Ino != 0 {
		if err := c.remember(file, id, e, now, sum(d.Hash().Sum(nil))); err != nil {
			return "", err
		}
	}
	return d.Digest(), nil
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

// Changed says whether r, an open file of a [Folder], is another one by now than the entry was made of, or holds
// something else. Of other trees it is never said.
func Changed(r io.Reader, e Entry) bool {
	file, ok := r.(*os.File)
	if !ok || e.stat.Ino == 0 {
		return false
	}
	var st unix.Stat_t
	return unix.Fstat(int(file.Fd()), &st) != nil || idOf(&st) != e.stat
}

func (c *StatCache) find(id fileID) (sum, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.old[id]
	if ok {
		c.used[id] = s
	}
	return s, ok
}

func (c *StatCache) remember(file *os.File, id fileID, e Entry, started time.Time, s sum) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return err
	}
	if idOf(&st).named(e.Path) != id {
		return fmt.Errorf("hash %q: the file changed while it was read", "/"+e.Path)
	}
	if !id.settled(started) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.old[id], c.used[id], c.miss = s, s, true
	return nil
}
