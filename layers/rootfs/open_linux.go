package rootfs

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// PathOnly opens a file for nothing but to stand for it, where the system knows such.
const PathOnly = unix.O_PATH

// enter are the flags of a folder that is only walked through.
const enter = unix.O_PATH | unix.O_DIRECTORY

// open resolves a path inside the root in one system call. A filter that knows no openat2 (5.6) gets the walk.
func (r *Root) open(path string, flags int, mode uint32) (int, error) {
	if path == "" {
		path = "."
	}
	if flags&unix.O_CREAT == 0 {
		mode = 0
	}
	how := &unix.OpenHow{
		Flags: uint64(flags | unix.O_CLOEXEC), Mode: uint64(mode), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(int(r.dir.Fd()), path, how)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if errors.Is(err, unix.ENOSYS) {
			fd, err = openWalk(int(r.dir.Fd()), path, flags, mode)
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return fd, nil
	}
}

func (r *Root) stat(path string, flags int) (unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := r.open(path, unix.O_PATH|flags, 0)
	if err != nil {
		return st, err
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return st, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st, nil
}

// Readlink reads a symbolic link.
func (r *Root) Readlink(path string) (string, error) {
	fd, err := r.open(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	target, err := readlinkAt(fd, "")
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: path, Err: err}
	}
	return target, nil
}

// Mknod makes a special file, mode with its type.
func (r *Root) Mknod(path string, mode uint32, dev uint64) error {
	return r.in("mknod", path, func(d int, n string) error { return unix.Mknodat(d, n, mode, int(dev)) })
}

// OpenBeneath opens a path below an open folder through no link at all; a link at its end is ELOOP too, unless flags are
// PathOnly and O_NOFOLLOW. The path is relative and leads not up.
func OpenBeneath(dir int, path string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(dir, path, &how)
		switch err {
		case unix.EINTR, unix.EAGAIN:
			continue
		case unix.ENOSYS:
			return stepBeneath(dir, path, flags)
		}
		return fd, err
	}
}

// renameNew moves a name where none is yet.
func renameNew(olddir int, old string, dir int, name string) error {
	return unix.Renameat2(olddir, old, dir, name, unix.RENAME_NOREPLACE)
}

// openUp gives the owner of a folder all rights to it. What the name means meanwhile does not matter: the descriptor is
// the folder.
func openUp(dir int, name string) error {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), 0o700)
}
