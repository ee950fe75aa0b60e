package diff

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pathOnly opens a file for nothing but to stand for it.
const pathOnly = unix.O_PATH

var mknodat = unix.Mknodat

func futimens(fd int, ts *[2]unix.Timespec) error {
	if _, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(ts)), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// openEntry opens what lies at a path of a tree, which may be a link; no other link is followed out of the tree.
func openEntry(root int, path string) (int, error) {
	return unix.Openat2(root, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// readable opens a file to read that openEntry opened.
func readable(fd int) (*os.File, error) { return os.Open(fmt.Sprintf("/proc/self/fd/%d", fd)) }
