package diff

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/hodbuild/hod/layers/rootfs"
	"golang.org/x/sys/unix"
)

func (t *tree) link(from, to string) error {
	t.links = append(t.links, [2]string{from, to})
	return nil
}

func (t *tree) makeLink(from, to string) error {
	fd, fn := split(from)
	td, tn := split(to)
	// Each look-up of a folder may close the others, so the descriptors are taken one after the other and kept by a
	// copy.
	a, err := t.dir(fd)
	if err != nil {
		return err
	}
	if a, err = unix.FcntlInt(uintptr(a), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	defer unix.Close(a)
	b, err := t.dir(td)
	if err != nil {
		return err
	}
	err = unix.Linkat(a, fn, b, tn, 0)
	if errors.Is(err, unix.EEXIST) {
		if err = rootfs.RemoveAt(b, tn); err == nil {
			err = unix.Linkat(a, fn, b, tn, 0)
		}
	}
	return os.NewSyscallError("linkat", err)
}

// remove deletes what lies at a path, with all below it.
func (t *tree) remove(at string) error {
	if err := t.settle(); err != nil {
		return err
	}
	dir, name := split(at)
	for p, fd := range t.dirs {
		if p == at || strings.HasPrefix(p, at+"/") {
			unix.Close(fd)
			delete(t.dirs, p)
		}
	}
	for p := range t.made {
		if p == at || strings.HasPrefix(p, at+"/") {
			delete(t.made, p)
		}
	}
	fd, err := t.dir(dir)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	return rootfs.RemoveAt(fd, name)
}

func (t *tree) whiteout(at string) error {
	dir, name := split(at)
	fd, err := t.dir(dir)
	if err != nil {
		return err
	}
	err = mknodat(fd, name, unix.S_IFCHR, 0)
	if errors.Is(err, unix.EPERM) {
		return t.ownWhiteout(fd, name)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return os.NewSyscallError("mknodat", err)
	}
	return t.hideWhiteouts(dir)
}

// OwnPrefix begins the attributes that say what overlay's say, where a file system takes those not: on another overlay
// or on NFS. Trees there are never part of an overlay, only copied.
const OwnPrefix = "user.hod."

// ownWhiteout makes a deletion that only snapshot.Copy understands.
func (t *tree) ownWhiteout(dir int, name string) error {
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	defer unix.Close(fd)
	return t.note(fd, "whiteout", []byte("y"))
}

// note sets an attribute of overlay's, or the own one that stands for it.
func (t *tree) note(fd int, name string, value []byte) error {
	err := unix.EPERM
	if name != "whiteout" {
		err, _ = unix.Fsetxattr(fd, t.prefix+name, value, 0).(unix.Errno)
	}
	var failed error = err
	switch err {
	case 0:
		return nil
	case unix.EPERM, unix.EOPNOTSUPP:
		failed = unix.Fsetxattr(fd, OwnPrefix+name, value, 0)
	}
	if failed != nil {
		return fmt.Errorf("set extended attribute %s%s: %w", t.prefix, name, failed)
	}
	return nil
}

// hideWhiteouts gives a folder the mark of one that was copied up from an unknown place. Overlayfs looks for whiteouts in
// merged folders and in those that have it; in any other one, such as the lowest or an opaque one, it would list them as
// files that nobody can open.
func (t *tree) hideWhiteouts(at string) error {
	if t.hidden[at] {
		return nil
	}
	d, err := t.openDir(at)
	if err != nil {
		return err
	}
	defer unix.Close(d)
	if err := t.note(d, "origin", nil); err != nil {
		return err
	}
	t.hidden[at] = true
	return nil
}

func (t *tree) opaque(at string) error {
	d, err := t.openDir(at)
	if err != nil {
		return err
	}
	defer unix.Close(d)
	return t.note(d, "opaque", []byte("y"))
}

func (t *tree) openDir(at string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if at == "" {
		fd, err := unix.Openat(t.dest, ".", flags, 0)
		return fd, os.NewSyscallError("openat", err)
	}
	dir, name := split(at)
	fd, err := t.dir(dir)
	if err != nil {
		return -1, err
	}
	d, err := unix.Openat(fd, name, flags, 0)
	return d, os.NewSyscallError("openat", err)
}

// finish waits for the writers and sets the times of folders, the deepest first, and what new files in them inherit.
func (t *tree) finish() error {
	if err := t.settle(); err != nil {
		return err
	}
	for i := len(t.order) - 1; i >= 0; i-- {
		e := t.made[t.order[i]]
		if e == nil {
			continue
		}
		if err := t.inherit(t.order[i], e); err != nil {
			return err
		}
		dir, name := split(t.order[i])
		fd, err := t.dir(dir)
		if err != nil {
			return err
		}
		ts := times(e)
		if err := unix.UtimesNanoAt(fd, name, ts[:], unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return os.NewSyscallError("utimensat", err)
		}
	}
	e := t.made[""]
	if e == nil {
		return nil
	}
	if err := t.inherit("", e); err != nil {
		return err
	}
	if !e.ModTime.IsZero() {
		ts := times(e)
		return os.NewSyscallError("utimensat", futimens(t.dest, &ts))
	}
	return nil
}

func readNames(fd int) ([]string, error) {
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return nil, os.NewSyscallError("lseek", err)
	}
	buf := make([]byte, 32<<10)
	var names []string
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return nil, os.NewSyscallError("getdents", err)
		}
		if n == 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}
