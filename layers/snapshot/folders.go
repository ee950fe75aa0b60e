//go:build linux

package snapshot

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
	"golang.org/x/sys/unix"
)

const pathFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW

// openFolders opens what the overlay is made of, seen through the map if there is one.
func openFolders(m rootfs.Mount, o Options) (f folders, err error) {
	var ns *os.File
	if ids := o.ids(); ids != nil {
		if ns, err = userns.File(*ids); err != nil {
			return f, err
		}
		defer ns.Close()
		if !rootfs.DetachedServes() {
			err = rootfs.OwnMounts()
		}
		if err != nil {
			return f, err
		}
	}
	for _, l := range m.Lower {
		d, err := openFolder(l, ns)
		if err != nil {
			return f, err
		}
		f.lower = append(f.lower, d)
	}
	if o.Upper == "" {
		return f, nil
	}
	if ns == nil {
		if f.upper, err = openFolder(o.Upper, nil); err != nil {
			return f, err
		}
		f.work, err = openFolder(o.Work, nil)
		return f, err
	}
	dir := filepath.Dir(o.Upper)
	if dir != filepath.Dir(o.Work) {
		return f, errors.New("upper and work folder lie in different folders")
	}
	if f.clone, err = openFolder(dir, ns); err != nil {
		return f, err
	}
	if f.upper, err = openIn(f.clone, filepath.Base(o.Upper)); err != nil {
		return f, err
	}
	f.work, err = openIn(f.clone, filepath.Base(o.Work))
	return f, err
}

// openFolder opens a folder, or a mount of it that is seen through the map; where the kernel stacks only what is attached,
// the mount lies over the folder, in the thread's own namespace.
func openFolder(path string, ns *os.File) (*os.File, error) {
	if ns == nil {
		return os.OpenFile(path, pathFlags, 0)
	}
	d, err := userns.IDMapTree(path, ns)
	if err != nil || rootfs.DetachedServes() {
		return d, err
	}
	if err := unix.MoveMount(int(d.Fd()), "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		d.Close()
		return nil, &os.PathError{Op: "move_mount", Path: path, Err: err}
	}
	return d, nil
}

func openIn(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, pathFlags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// giveIDsBack undoes userns.TakeIDs: with the file system id of root its file capabilities are effective again.
func giveIDsBack() error {
	for _, nr := range []uintptr{unix.SYS_SETFSUID, unix.SYS_SETFSGID} {
		if _, _, errno := unix.RawSyscall(nr, 0, 0, 0); errno != 0 {
			return errno
		}
		if now, _, _ := unix.RawSyscall(nr, uintptr(^uint32(0)), 0, 0); now != 0 {
			return unix.EPERM
		}
	}
	return nil
}
