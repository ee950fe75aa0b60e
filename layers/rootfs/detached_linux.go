package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"

	"golang.org/x/sys/unix"
)

// DetachedServes says whether the kernel takes mounts that are attached nowhere for an overlay's folders, and clones parts
// of them, as it does from Linux 6.15. Before, they must be attached in the caller's mount namespace.
func DetachedServes() bool { return KernelFrom(6, 15) }

// OwnMounts gives the calling thread a mount namespace from which nothing reaches another. The thread is locked, and ends
// with its goroutine.
func OwnMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	return os.NewSyscallError("mount", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
}

// WithTree does what clones parts of a mount; where it is detached and the kernel wants it attached, for as long it is.
func WithTree(tree int, do func() error) error {
	if err := do(); !errors.Is(err, unix.EINVAL) || DetachedServes() {
		return err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := OwnMounts()
		if err == nil {
			err = os.NewSyscallError("move_mount", unix.MoveMount(tree, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH))
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// Part is a new mount, attached nowhere, of a file or folder of what m shows, as Subtree makes it.
func (m Mount) Part(name string) (*os.File, error) {
	tree, err := m.open()
	if err != nil {
		return nil, err
	}
	if tree != m.Detached {
		defer tree.Close()
	}
	return Subtree(tree, name)
}

// open opens the root of what m shows: m.Detached, or else the caller closes it.
func (m Mount) open() (*os.File, error) {
	switch {
	case m.Detached != nil:
		return m.Detached, nil
	case m.Type == "overlay":
		return MountOverlay(m, unix.MOUNT_ATTR_NODEV)
	}
	return os.OpenFile(m.Source, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// Subtree is a new mount, attached nowhere, of a file or folder inside of an open tree, through no link that leads out of
// it. It needs the privilege to mount. The caller closes it.
func Subtree(tree *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat2(int(tree.Fd()), "./"+path.Clean("/"+name), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("open source %q: %w", name, err)
	}
	defer unix.Close(fd)
	var clone int
	err = WithTree(int(tree.Fd()), func() (err error) {
		clone, err = unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("mount source %q: %w", name, os.NewSyscallError("open_tree", err))
	}
	return os.NewFile(uintptr(clone), name), nil
}
