package userns

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cloneArgs is struct clone_args of clone3, its first version.
type cloneArgs struct {
	flags uint64
	_     [3]uint64 // pidfd, childTID, parentTID

	exitSignal, stack, stackSize uint64

	_ uint64 // tls
}

//go:noescape
func cloneIdle(args *cloneArgs, size, parent uintptr) (pid, errno uintptr)

// idle opens a new user namespace with a map, through a child that lives in this process's memory and does nothing: no
// page table is copied and no program is started. It is for root; ENOSYS where clone3 is not to be had.
func idle(m Map) (*os.File, error) {
	runtime.LockOSThread() // the child dies with this thread
	defer runtime.UnlockOSThread()
	stack := make([]byte, 512)
	args := cloneArgs{
		flags: unix.CLONE_NEWUSER | unix.CLONE_VM | unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD),
		stack: (uint64(uintptr(unsafe.Pointer(unsafe.SliceData(stack)))) + 15) &^ 15, stackSize: 480,
	}
	pid, errno := cloneIdle(&args, unsafe.Sizeof(args), uintptr(os.Getpid()))
	if errno != 0 {
		return nil, unix.Errno(errno)
	}
	defer func() {
		unix.Kill(int(pid), unix.SIGKILL)
		for {
			if _, err := unix.Wait4(int(pid), nil, 0, nil); err != unix.EINTR {
				break
			}
		}
		runtime.KeepAlive(stack)
	}()
	dir := fmt.Sprintf("/proc/%d/", pid)
	for name, ranges := range map[string][]Range{"uid_map": m.UIDs, "gid_map": m.GIDs} {
		var b []byte
		for _, r := range ranges {
			b = fmt.Appendf(b, "%d %d %d\n", r.Inside, r.Outside, r.Count)
		}
		if err := writeOnce(dir+name, b); err != nil {
			return nil, err
		}
	}
	return os.Open(dir + "ns/user")
}

// writeOnce writes a file of the kernel's, which is neither made nor cut.
func writeOnce(path string, b []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, b); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}
