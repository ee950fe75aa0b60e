//go:build !linux

package diff

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// pathOnly opens a file for nothing but to stand for it.
const pathOnly = unix.O_RDONLY

// mknodat is not there on this system, as for a user on Linux: devices become empty files that the index knows.
func mknodat(int, string, uint32, int) error { return unix.EPERM }

func futimens(fd int, ts *[2]unix.Timespec) error {
	return unix.Futimes(fd, []unix.Timeval{unix.NsecToTimeval(ts[0].Nano()), unix.NsecToTimeval(ts[1].Nano())})
}

// openEntry opens what lies at a path of a tree, name by name and through no link.
func openEntry(root int, path string) (int, error) {
	at, err := unix.Openat(root, ".", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	for name := range strings.SplitSeq(path, "/") {
		if err != nil {
			return -1, err
		}
		up := at
		at, err = unix.Openat(up, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		unix.Close(up)
	}
	return at, err
}

// readable opens a file to read that openEntry opened.
func readable(fd int) (*os.File, error) {
	again, err := unix.Dup(fd)
	return os.NewFile(uintptr(again), "entry"), err
}
