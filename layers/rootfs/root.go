package rootfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Root is an open folder that is the root of every path given to it. Links are followed by the kernel as if the process
// were chrooted into it; magic links are refused.
type Root struct {
	dir  *os.File
	name string
}

// OpenRoot opens a folder as a root.
func OpenRoot(dir string) (*Root, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	return &Root{dir: f, name: dir}, nil
}

// RootFrom takes an open folder as a root, and owns it.
func RootFrom(dir *os.File) *Root { return &Root{dir: dir, name: dir.Name()} }

// Close closes the root.
func (r *Root) Close() error { return r.dir.Close() }

// Open opens a file to read. It never waits for the other end of a pipe.
func (r *Root) Open(path string) (*os.File, error) {
	return r.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// OpenFile opens a file with the flags of os.OpenFile.
func (r *Root) OpenFile(path string, flags int, mode uint32) (*os.File, error) {
	fd, err := r.open(path, flags, mode)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Stat describes what a path leads to.
func (r *Root) Stat(path string) (unix.Stat_t, error) { return r.stat(path, 0) }

// Lstat describes a path; its last name is not followed.
func (r *Root) Lstat(path string) (unix.Stat_t, error) {
	return r.stat(path, unix.O_NOFOLLOW)
}

// parent opens the folder of a path and gives the last name, which is a plain one.
func (r *Root) parent(path string) (int, string, error) {
	clean := strings.TrimRight(path, "/")
	dir, name := "", clean
	if i := strings.LastIndexByte(clean, '/'); i >= 0 {
		dir, name = clean[:i], clean[i+1:]
	}
	if name == "" || name == "." || name == ".." {
		return -1, "", &os.PathError{Op: "enter", Path: path, Err: unix.EINVAL}
	}
	if dir == "" {
		dir = "/"
	}
	fd, err := r.open(dir, enter, 0)
	return fd, name, err
}

// in performs an operation on the last name of a path inside its folder.
func (r *Root) in(op, path string, do func(dir int, name string) error) error {
	fd, name, err := r.parent(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := do(fd, name); err != nil {
		return &os.PathError{Op: op, Path: path, Err: err}
	}
	return nil
}

// MkdirAll makes a folder and its missing parents with a mode and an owner; those that are there stay as they are.
func (r *Root) MkdirAll(path string, mode uint32, uid, gid int) error {
	if fd, err := r.open(path, enter, 0); err == nil {
		return unix.Close(fd)
	} else if !errors.Is(err, unix.ENOENT) {
		return err
	}
	clean := strings.TrimRight(path, "/")
	if i := strings.LastIndexByte(clean, '/'); i > 0 {
		if err := r.MkdirAll(clean[:i], mode, uid, gid); err != nil {
			return err
		}
	}
	return r.in("mkdir", path, func(dir int, name string) error {
		if err := unix.Mkdirat(dir, name, mode&0o777); err != nil {
			return err
		}
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if uid != os.Geteuid() || gid != os.Getegid() {
			if err := unix.Fchown(fd, uid, gid); err != nil {
				return err
			}
		}
		return unix.Fchmod(fd, mode)
	})
}

// ReadDir lists the names in a folder.
func (r *Root) ReadDir(path string) ([]os.DirEntry, error) {
	f, err := r.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

// Symlink makes a symbolic link.
func (r *Root) Symlink(target, path string) error {
	return r.in("symlink", path, func(d int, n string) error { return unix.Symlinkat(target, d, n) })
}

// Link gives a file another name; a symbolic link itself is linked, not what it leads to.
func (r *Root) Link(old, path string) error {
	return r.in("link", old, func(od int, on string) error {
		return r.in("link", path, func(d int, n string) error { return unix.Linkat(od, on, d, n, 0) })
	})
}

// Remove deletes a file or an empty folder.
func (r *Root) Remove(path string) error {
	return r.in("remove", path, func(d int, n string) error {
		err := unix.Unlinkat(d, n, 0)
		if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
			err = unix.Unlinkat(d, n, unix.AT_REMOVEDIR)
		}
		return err
	})
}

// ReadFileLimited reads a regular file of at most limit bytes; anything else is an error, and none of it is waited for.
func (r *Root) ReadFileLimited(path string, limit int64) ([]byte, error) {
	st, err := r.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := r.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var now unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &now); err != nil || now.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &os.PathError{Op: "read", Path: path, Err: fmt.Errorf("longer than %d bytes", limit)}
	}
	return data, nil
}
