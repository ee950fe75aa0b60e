package userns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// File gives the descriptor of a new user namespace with a map. A helper process holds the namespace until it is open.
func File(m Map) (*os.File, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		if f, err := idle(m); err == nil || !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
			return f, err
		}
	}
	// The helper is this program stopped at its first instruction: traced, it executes nothing of its own.
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL, Ptrace: true,
		UidMappings: sysMap(m.UIDs), GidMappings: sysMap(m.GIDs), GidMappingsEnableSetgroups: os.Geteuid() == 0,
	}
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result)
	go func() {
		// The thread that traces must stay until the helper has gone, and it is not used again.
		lockThread()
		if err := cmd.Start(); err != nil {
			done <- result{nil, Refused(err)}
			return
		}
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
		cmd.Process.Kill()
		cmd.Wait()
		done <- result{f, err}
	}()
	r := <-done
	return r.f, r.err
}

func sysMap(ranges []Range) []syscall.SysProcIDMap {
	m := make([]syscall.SysProcIDMap, len(ranges))
	for i, r := range ranges {
		m[i] = syscall.SysProcIDMap{ContainerID: int(r.Inside), HostID: int(r.Outside), Size: int(r.Count)}
	}
	return m
}

// IDMapTree clones the mount of a folder so that its owners are seen through a namespace's map: what root owns on disk
// belongs to root inside. The descriptor is a detached mount.
func IDMapTree(dir string, ns *os.File) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: dir, Err: err}
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return nil, &MapError{os.PathError{Op: "map the owners of", Path: dir, Err: err}}
	}
	return os.NewFile(uintptr(fd), dir), nil
}
