package rootfs

import (
	"errors"
	"os"
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
