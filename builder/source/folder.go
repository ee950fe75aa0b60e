package source

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers/rootfs"
	"golang.org/x/sys/unix"
)

// Folder is a folder of this machine as a tree. Owners are dropped (a context belongs to root, whoever checked it out);
// modes, contents, hard links and capabilities are kept. It is walked by descriptor: no entry outside of the folder can
// be reached, whatever links it holds and whoever changes it meanwhile.
type Folder struct {
	dir  *os.File
	name string
}

// OpenFolder opens a local folder; [Filter] puts an ignore file over it. The caller closes it.
func OpenFolder(dir string) (*Folder, error) {
	fd, err := unix.Open(dir, rootfs.PathOnly|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return &Folder{dir: os.NewFile(uintptr(fd), dir), name: dir}, nil
}

// Close releases the folder's descriptor.
func (f *Folder) Close() error { return f.dir.Close() }

// Lstat describes one entry, see [Files].
func (f *Folder) Lstat(p string) (Entry, error) {
	if p == "" {
		return f.statAt(int(f.dir.Fd()), ".", "")
	}
	dir, base := path.Split(p)
	fd, err := f.openat(path.Clean("./"+dir), rootfs.PathOnly|unix.O_DIRECTORY)
	if err != nil {
		if err == unix.ENOTDIR || err == unix.ELOOP {
			err = fs.ErrNotExist
		}
		return Entry{}, &fs.PathError{Op: "stat", Path: p, Err: err}
	}
	defer unix.Close(fd)
	return f.statAt(fd, base, p)
}

// ReadDir lists a folder, see [Files].
func (f *Folder) ReadDir(p string) ([]Entry, error) {
	fd, err := f.openat(path.Clean("./"+p), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, &fs.PathError{Op: "list", Path: p, Err: err}
	}
	d := os.NewFile(uintptr(fd), p)
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", p, err)
	}
	slices.Sort(names)
	entries := make([]Entry, 0, len(names))
	for _, name := range names {
		e, err := f.statAt(fd, name, path.Join(p, name))
		if errors.Is(err, fs.ErrNotExist) { // it went meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Open reads a file, see [Files]. A file that is a pipe or a device by now is an error, and opening it does not block.
func (f *Folder) Open(p string) (io.ReadCloser, error) {
	fd, err := f.openat(path.Clean("./"+p), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: p, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		if err == nil {
			err = fmt.Errorf("not a regular file")
		}
		return nil, &fs.PathError{Op: "open", Path: p, Err: err}
	}
	return &localFile{fd: fd, name: p}, nil
}

// localFile is an open file of a folder. It is no os.File: the many small files of a context would each be offered to the
// poller, which takes none.
type localFile struct {
	fd   int
	name string
}

// Read reads on.
func (f *localFile) Read(p []byte) (int, error) {
	for len(p) > 0 {
		n, err := unix.Read(f.fd, p)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, &fs.PathError{Op: "read", Path: f.name, Err: err}
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
	return 0, nil
}

// Close closes the file.
func (f *localFile) Close() error { return unix.Close(f.fd) }

// Changed says whether r, an open file of a [Folder], is another one by now than the entry was made of, or holds
// something else. Of other trees it is never said.
func Changed(r io.Reader, e Entry) bool {
	file, ok := r.(*localFile)
	if !ok || e.stat.Ino == 0 {
		return false
	}
	var st unix.Stat_t
	return unix.Fstat(file.fd, &st) != nil || idOf(&st) != e.stat
}

func (f *Folder) openat(p string, flags int) (int, error) {
	return rootfs.OpenBeneath(int(f.dir.Fd()), p, flags)
}

// statAt makes an entry of the name base in the folder fd.
func (f *Folder) statAt(fd int, base, p string) (Entry, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Entry{}, &fs.PathError{Op: "stat", Path: p, Err: err}
	}
	e := entryOf(&st, p)
	if e.Type == tar.TypeSymlink {
		target, err := readlinkat(fd, base)
		if err != nil {
			return Entry{}, &fs.PathError{Op: "readlink", Path: p, Err: err}
		}
		e.Linkname = target
	}
	return e, nil
}

func entryOf(st *unix.Stat_t, p string) Entry {
	e := Entry{Path: p, Mode: uint32(st.Mode) & 0o7777, ModTime: time.Unix(st.Mtim.Unix())}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Type, e.Size, e.stat = tar.TypeReg, st.Size, idOf(st)
		if st.Nlink > 1 {
			e.Inode = strconv.FormatUint(uint64(st.Dev), 36) + ":" + strconv.FormatUint(st.Ino, 36)
		}
	case unix.S_IFDIR:
		e.Type = tar.TypeDir
	case unix.S_IFLNK:
		e.Type = tar.TypeSymlink
		e.Mode = 0o777
	case unix.S_IFCHR:
		e.Type = tar.TypeChar
	case unix.S_IFBLK:
		e.Type = tar.TypeBlock
	case unix.S_IFIFO:
		e.Type = tar.TypeFifo
	case unix.S_IFSOCK:
		e.Type = TypeSocket
	}
	if e.Type == tar.TypeChar || e.Type == tar.TypeBlock {
		e.Devmajor, e.Devminor = int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev)))
	}
	return e
}

// TypeSocket marks a socket, which no archive can hold.
const TypeSocket byte = 's'

func readlinkat(fd int, base string) (string, error) {
	buf := make([]byte, 4096)
	n, err := unix.Readlinkat(fd, base, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// String names the folder as the user gave it.
func (f *Folder) String() string { return strings.TrimSuffix(f.name, "/") }
