//go:build linux

package userns

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// TakeIDs makes the calling thread act on files as the namespace's root, with its capabilities kept: overlayfs makes its
// work folder as whoever mounts, and an idmapped mount has no place for the host's root. The caller has locked the
// thread.
func TakeIDs(m Map) error {
	uid, gid, ok := m.Outside(0, 0)
	if !ok {
		return errors.New("the id map has no root")
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETFSGID, uintptr(gid), 0, 0); errno != 0 {
		return os.NewSyscallError("setfsgid", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0); errno != 0 {
		return os.NewSyscallError("setfsuid", errno)
	}
	if err := unix.Capset(&head, &caps[0]); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	return nil
}

// As calls do on a thread of its own that acts on files as the root of a namespace with the map m.
func As(m Map, do func() error) error {
	done := make(chan error)
	go func() {
		lockThread() // for good: the thread ends with the ids that it took
		err := TakeIDs(m)
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}
