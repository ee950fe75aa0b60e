//go:build linux && !amd64

package sandbox

import "golang.org/x/sys/unix"

// sharedClone is not there on this architecture: the caller forks.
func sharedClone(cloneArgs, []linked, *report) (uintptr, unix.Errno, any) {
	return 0, unix.ENOSYS, nil
}
