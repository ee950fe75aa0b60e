package rootfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// RemoveAll deletes a path with all below it, without following a link and without recursion, however deep it is. What is
// missing is no error.
func (r *Root) RemoveAll(path string) error {
	err := r.in("remove", path, RemoveAt)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// RemoveAt deletes one name of an open folder with all below it, as RemoveAll does. Folders are emptied by moving what they
// hold up to the one that is emptied first, so depth costs neither stack nor descriptors. What is missing is no error.
func RemoveAt(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	fd, err := openToEmpty(dir, name)
	if err != nil {
		return err
	}
	top := os.NewFile(uintptr(fd), name)
	defer top.Close()
	for moved := 0; ; {
		if _, err := top.Seek(0, 0); err != nil {
			return err
		}
		names, err := top.Readdirnames(-1)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
		}
		for _, n := range names {
			if err := removeOrHoist(fd, n, &moved); err != nil {
				return err
			}
		}
	}
}

// openToEmpty opens a folder whose names are to go. Without root it may be closed to its own owner (the kernel makes the
// folders of overlay's work so), and is opened up first.
func openToEmpty(dir int, name string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, name, flags, 0)
	if errors.Is(err, unix.EACCES) {
		if err := openUp(dir, name); err != nil {
			return -1, err
		}
		fd, err = unix.Openat(dir, name, flags, 0)
	}
	var st unix.Stat_t
	if err == nil && unix.Fstat(fd, &st) == nil && st.Mode&0o700 != 0o700 {
		_ = unix.Fchmod(fd, 0o700) // whoever needs it hears of it from what follows
	}
	return fd, err
}

// removeOrHoist deletes a name, or moves what it holds up into dir and deletes it then, so that depth costs nothing.
func removeOrHoist(dir int, name string, moved *int) error {
	if unix.Unlinkat(dir, name, 0) == nil || unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) == nil {
		return nil
	}
	fd, err := openToEmpty(dir, name)
	if err != nil {
		return err
	}
	sub := os.NewFile(uintptr(fd), name)
	defer sub.Close()
	names, err := sub.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if unix.Unlinkat(fd, n, 0) == nil {
			continue
		}
		for opened := false; ; {
			*moved++
			err := renameNew(fd, n, dir, fmt.Sprintf(".hod-rm-%d", *moved))
			if err == nil {
				break
			}
			if errors.Is(err, unix.EACCES) && !opened { // moving a folder writes its ".."
				opened = true
				err = openUp(fd, n)
			}
			if err != nil && !errors.Is(err, unix.EEXIST) {
				return err
			}
		}
	}
	return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}
