//go:build !linux

package rootfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// PathOnly opens a file for nothing but to stand for it, where the system knows such.
const PathOnly = unix.O_RDONLY | unix.O_NONBLOCK

// enter are the flags of a folder that is only walked through.
const enter = unix.O_RDONLY | unix.O_DIRECTORY

func (r *Root) open(path string, flags int, mode uint32) (int, error) {
	fd, err := openWalk(int(r.dir.Fd()), path, flags, mode)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

func (r *Root) stat(path string, flags int) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := r.at(path, flags&unix.O_NOFOLLOW == 0, func(dir int, name string) error {
		return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		err = &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st, err
}

// Readlink reads a symbolic link.
func (r *Root) Readlink(path string) (target string, err error) {
	err = r.at(path, false, func(dir int, name string) error {
		target, err = readlinkAt(dir, name)
		return err
	})
	if err != nil {
		err = &os.PathError{Op: "readlink", Path: path, Err: err}
	}
	return target, err
}

func (r *Root) at(path string, follow bool, do func(dir int, name string) error) error {
	dir, name, err := walk(int(r.dir.Fd()), path, follow)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return do(dir, name)
}

// Mknod makes a special file, mode with its type: not on this system, where images are built and never run.
func (r *Root) Mknod(path string, mode uint32, dev uint64) error {
	return &os.PathError{Op: "mknod", Path: path, Err: errors.ErrUnsupported}
}

// OpenBeneath opens a path below an open folder through no link at all; a link at its end is ELOOP too, unless flags are
// PathOnly and O_NOFOLLOW. The path is relative and leads not up.
func OpenBeneath(dir int, path string, flags int) (int, error) { return stepBeneath(dir, path, flags) }

// renameNew moves a name where none is yet. Only our own names are moved here, into a folder that nobody else writes.
func renameNew(olddir int, old string, dir int, name string) error {
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return unix.EEXIST
	}
	return unix.Renameat(olddir, old, dir, name)
}

// openUp gives the owner of a folder all rights to it. It lies in a folder that nobody else writes.
func openUp(dir int, name string) error { return unix.Fchmodat(dir, name, 0o700, 0) }
