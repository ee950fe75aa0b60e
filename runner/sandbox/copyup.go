//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/hodbuild/hod/layers/rootfs"
)

// copyUp is the option of a tmpfs that begins with what the root has at its place, as runc and crun have it and Podman
// asks for with --read-only.
const copyUp = "tmpcopyup"

// copiedUp makes such a tmpfs in the parent, where the root can be read before it is mounted over.
func (c *compiler) copiedUp(target string, options []string) (any, error) {
	options = slices.DeleteFunc(slices.Clone(options), func(o string) bool { return o == copyUp })
	if c.o.Root.Source == "" {
		return nil, fmt.Errorf("mount at %q: %s: only a folder can be copied up", target, copyUp)
	}
	readOnly := slices.Contains(options, "ro")
	f, err := c.ownTmpfs(slices.DeleteFunc(options, func(o string) bool { return o == "ro" }))
	if err == nil {
		err = copyTree(c.o.Root.Source, target, f)
	}
	if err == nil && readOnly {
		err = unix.MountSetattr(int(f.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	if err != nil {
		return nil, fmt.Errorf("make tmpfs for %s: %w", target, err)
	}
	return int(f.Fd()), nil
}

// copyTree copies a folder below root, if there is one, into the file system to; links are followed inside of root only,
// and devices are left out.
func copyTree(root, folder string, to *os.File) error {
	from, err := rootfs.OpenRoot(root)
	if err != nil {
		return err
	}
	defer from.Close()
	dst, err := rootfs.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", to.Fd()))
	if err != nil {
		return err
	}
	defer dst.Close()
	info, err := from.Stat(folder)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	if err != nil {
		return err
	}
	return copyFolder(from, dst, folder, ".")
}

func copyFolder(from, to *rootfs.Root, folder, name string) error {
	entries, err := from.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := copyEntry(from, to, path.Join(folder, e.Name()), path.Join(name, e.Name())); err != nil {
			return fmt.Errorf("copy %q: %w", path.Join(folder, e.Name()), err)
		}
	}
	return nil
}

func copyEntry(from, to *rootfs.Root, src, dst string) error {
	st, err := from.Lstat(src)
	if err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err = to.MkdirAll(dst, 0o700, -1, -1); err == nil {
			err = copyFolder(from, to, src, dst)
		}
	case unix.S_IFLNK:
		var target string
		if target, err = from.Readlink(src); err == nil {
			err = to.Symlink(target, dst)
		}
	case unix.S_IFREG:
		err = copyFile(from, to, src, dst)
	case unix.S_IFIFO:
		err = to.Mknod(dst, st.Mode, 0)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	return own(to, dst, st)
}

func copyFile(from, to *rootfs.Root, src, dst string) error {
	r, err := from.Open(src)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := to.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// own gives an entry the owner and the mode of another.
func own(root *rootfs.Root, name string, st unix.Stat_t) error {
	f, err := root.OpenFile(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fchownat(int(f.Fd()), "", int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil
	}
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), st.Mode&0o7777)
}
