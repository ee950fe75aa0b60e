package diff

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/hodbuild/hod/layers/rootfs"
	"golang.org/x/sys/unix"
)

const (
	maxDirs   = 256       // folders kept open, where the limit of descriptors allows
	smallFile = 128 << 10 // what is handed to a writer in one piece
	copyBlock = 256 << 10
)

// tree writes below one folder, always relative to the descriptor of a folder that it made or entered without following
// a link. Small files go to a few writers; whatever depends on them waits by settle.
type tree struct {
	dest   int
	o      ApplyOptions
	prefix string // of overlay's attributes
	uid    int
	gid    int
	umask  uint32

	dirs  map[string]int // open folders, at most so many
	most  int
	made  map[string]*Entry // folders of the layer, for their times at the end
	order []string
	// hidden are the folders whose whiteouts overlayfs hides.
	hidden map[string]bool
	links  [][2]string

	next *batch // small files that no writer has yet
	jobs chan *batch
	free chan *batch
	busy sync.WaitGroup // batches that are with the writers
	all  sync.WaitGroup
	mu   sync.Mutex // guards err
	err  error
	buf  []byte
}

func newTree(dest *os.File, o ApplyOptions) *tree {
	t := &tree{
		dest: int(dest.Fd()), o: o, prefix: "trusted.overlay.", uid: os.Geteuid(), gid: os.Getegid(), umask: processUmask(),
		dirs: map[string]int{}, most: dirsKept(), made: map[string]*Entry{}, hidden: map[string]bool{}, jobs: make(chan *batch, 4),
		free: make(chan *batch, 8),
	}
	if o.UserXattr {
		t.prefix = "user.overlay."
	}
	n := o.Writers
	if n <= 0 {
		n = 2
	}
	for range n {
		t.all.Go(t.writer)
	}
	return t
}

// processUmask is the umask, or all bits where it cannot be read: then every mode is set a second time.
var processUmask = sync.OnceValue(func() uint32 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o777
	}
	_, rest, ok := strings.Cut(string(data), "\nUmask:\t")
	var mask uint32
	if _, err := fmt.Sscanf(rest, "%o", &mask); !ok || err != nil {
		return 0o777
	}
	return mask
})

// dirsKept is how many folders stay open: few enough that layers side by side leave descriptors to everything else.
func dirsKept() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return maxDirs
	}
	return int(min(maxDirs, max(1, limit.Cur/16)))
}

func (t *tree) close() {
	close(t.jobs)
	t.all.Wait()
	t.dropDirs()
}

func (t *tree) dropDirs() {
	for p, fd := range t.dirs {
		unix.Close(fd)
		delete(t.dirs, p)
	}
}

// dir opens a folder, name by name from the nearest one that is open.
func (t *tree) dir(p string) (int, error) {
	if p == "" {
		return t.dest, nil
	}
	if fd, ok := t.dirs[p]; ok {
		return fd, nil
	}
	if len(t.dirs) >= t.most {
		if err := t.settle(); err != nil {
			return -1, err
		}
		t.dropDirs()
	}
	up, base := p, ""
	at := t.dest
	for up != "" {
		up, _ = split(up)
		if fd, ok := t.dirs[up]; ok {
			at, base = fd, up
			break
		}
	}
	rest := strings.TrimPrefix(p[len(base):], "/")
	own := -1
	for name := range strings.SplitSeq(rest, "/") {
		fd, err := unix.Openat(at, name, pathOnly|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if own >= 0 {
			unix.Close(own)
		}
		if err != nil {
			return -1, &os.PathError{Op: "enter", Path: p, Err: err}
		}
		at, own = fd, fd
	}
	t.dirs[p] = own
	return own, nil
}

func (t *tree) has(p string) bool { return t.made[p] != nil }

// write makes one entry at a path whose parent is there.
func (t *tree) write(ctx context.Context, e *Entry, at string, content io.Reader) error {
	if at == "" {
		t.made[""] = e
		return t.meta(t.dest, e)
	}
	dir, name := split(at)
	fd, err := t.dir(dir)
	if err != nil {
		return err
	}
	switch {
	case e.IsDir():
		return t.folder(fd, name, at, e)
	case e.IsRegular():
		return t.file(ctx, fd, name, e, content)
	}
	return t.special(fd, name, e)
}

func (t *tree) folder(fd int, name, at string, e *Entry) error {
	mode := t.firstMode(e) & 0o777
	err := unix.Mkdirat(fd, name, mode)
	fresh := err == nil
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err = unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if err = t.settle(); err == nil {
				if err = unix.Unlinkat(fd, name, 0); err == nil {
					err = unix.Mkdirat(fd, name, mode)
				}
			}
		}
	}
	if err != nil {
		return os.NewSyscallError("mkdirat", err)
	}
	if t.made[at] == nil {
		t.order = append(t.order, at)
	}
	t.made[at] = e
	if len(e.Xattrs) == 0 {
		return t.folderMeta(fd, name, e, fresh)
	}
	d, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	defer unix.Close(d)
	return t.meta(d, e)
}

func (t *tree) file(ctx context.Context, fd int, name string, e *Entry, content io.Reader) error {
	if content == nil {
		content = bytes.NewReader(nil)
	}
	if e.Size <= smallFile {
		b := t.room(int(e.Size))
		at := len(b.data)
		b.data = b.data[:at+int(e.Size)]
		if _, err := io.ReadFull(content, b.data[at:]); err != nil {
			return fmt.Errorf("read content: %w", err)
		}
		b.jobs = append(b.jobs, job{fd, name, e, b.data[at:]})
		return t.failed()
	}
	f, err := t.create(fd, name, e)
	if err != nil {
		return err
	}
	defer unix.Close(f)
	big := bigFile{ctx: ctx, f: f, sum: sha256.New()}
	if t.buf == nil {
		t.buf = make([]byte, copyBlock)
	}
	if n, err := io.CopyBuffer(&big, content, t.buf); err != nil {
		return err
	} else if n != e.Size {
		return fmt.Errorf("read content: %w", io.ErrUnexpectedEOF)
	}
	if err := unix.Ftruncate(f, e.Size); err != nil { // it may end in a hole
		return os.NewSyscallError("ftruncate", err)
	}
	e.Digest = Sum(big.sum.Sum(nil))
	return t.seal(f, e)
}

// bigFile writes and hashes content, and leaves blocks of zeros as holes.
type bigFile struct {
	ctx context.Context
	f   int
	off int64
	sum hash.Hash
}

func (w *bigFile) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	w.sum.Write(p)
	if isZero(p) {
		w.off += int64(len(p))
		return len(p), nil
	}
	for b := p; len(b) > 0; {
		n, err := unix.Pwrite(w.f, b, w.off)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return len(p) - len(b), os.NewSyscallError("write", err)
		}
		b, w.off = b[n:], w.off+int64(n)
	}
	return len(p), nil
}

var zeros [4096]byte

func isZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

func (t *tree) create(dir int, name string, e *Entry) (int, error) {
	const flags = unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	f, err := unix.Openat(dir, name, flags, e.Mode&0o777)
	if errors.Is(err, unix.EEXIST) {
		if err := rootfs.RemoveAt(dir, name); err != nil {
			return -1, err
		}
		f, err = unix.Openat(dir, name, flags, e.Mode&0o777)
	}
	return f, os.NewSyscallError("openat", err)
}

func (t *tree) writeSmall(j job) error {
	f, err := t.create(j.dir, j.name, j.e)
	if err != nil {
		return err
	}
	defer unix.Close(f)
	j.e.Digest = sha256.Sum256(j.data)
	for b := j.data; len(b) > 0; {
		n, err := unix.Write(f, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		b = b[n:]
	}
	return t.seal(f, j.e)
}

// seal gives a written file its metadata; the time comes last.
func (t *tree) seal(f int, e *Entry) error {
	if err := t.meta(f, e); err != nil {
		return err
	}
	ts := times(e)
	return os.NewSyscallError("utimensat", futimens(f, &ts))
}

// special makes what has no content. A device that may not be made is an empty file: the index still knows it.
func (t *tree) special(dir int, name string, e *Entry) error {
	make := func() error {
		switch e.Type {
		case tar.TypeSymlink:
			return unix.Symlinkat(e.Linkname, dir, name)
		case tar.TypeFifo:
			return mknodat(dir, name, unix.S_IFIFO|e.Mode&0o777, 0)
		case tar.TypeChar:
			return mknodat(dir, name, unix.S_IFCHR|e.Mode&0o777, int(unix.Mkdev(uint32(e.Devmajor), uint32(e.Devminor))))
		}
		return mknodat(dir, name, unix.S_IFBLK|e.Mode&0o777, int(unix.Mkdev(uint32(e.Devmajor), uint32(e.Devminor))))
	}
	err := make()
	if errors.Is(err, unix.EEXIST) {
		if err = t.settle(); err != nil {
			return err
		}
		if err = rootfs.RemoveAt(dir, name); err == nil {
			err = make()
		}
	}
	if errors.Is(err, unix.EPERM) && (e.Type == tar.TypeChar || e.Type == tar.TypeBlock) {
		return t.writeSmall(job{dir, name, &Entry{Path: e.Path, Type: tar.TypeReg, UID: t.uid, GID: t.gid, ModTime: e.ModTime}, nil})
	}
	if err != nil {
		return fmt.Errorf("make special file: %w", err)
	}
	if t.foreign(e) {
		if err := unix.Fchownat(dir, name, e.UID, e.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return chownError(e, err)
		}
	}
	if e.Type != tar.TypeSymlink {
		// What was just made is no link, and the folder is ours alone.
		if err := unix.Fchmodat(dir, name, e.Mode, 0); err != nil {
			return os.NewSyscallError("fchmodat", err)
		}
	}
	ts := times(e)
	return os.NewSyscallError("utimensat", unix.UtimesNanoAt(dir, name, ts[:], unix.AT_SYMLINK_NOFOLLOW))
}

func times(e *Entry) [2]unix.Timespec {
	ts := unix.NsecToTimespec(0)
	if !e.ModTime.IsZero() {
		at := boundTime(e.ModTime)
		ts = unix.Timespec{Sec: at.Unix(), Nsec: int64(at.Nanosecond())}
	}
	return [2]unix.Timespec{ts, ts}
}
