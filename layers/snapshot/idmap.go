package snapshot

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// IDRange maps Count ids from Inside a user namespace to Outside of it.
type IDRange struct{ Inside, Outside, Count uint32 }

// Namespace returns a descriptor of a user namespace with these maps, for
// mapping mounts; no process lives in it. It needs root.
func Namespace(uids, gids []IDRange) (*os.File, error) {
	f, err := namespace(uids, gids)
	if err != nil {
		return nil, fmt.Errorf("make user namespace: %w", err)
	}
	return f, nil
}

// namespace starts a traced copy of this program, which the kernel stops before
// its first instruction, takes its namespace and ends it.
func namespace(uids, gids []IDRange) (*os.File, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := os.StartProcess("/proc/self/exe", []string{"hod-ids"}, &os.ProcAttr{
		Env: []string{},
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER, Ptrace: true, Pdeathsig: unix.SIGKILL,
			UidMappings: mappings(uids), GidMappings: mappings(gids), GidMappingsEnableSetgroups: true,
		},
	})
	if err != nil {
		return nil, err
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", p.Pid))
	p.Kill()
	// The first wait tells of the stop, the one that counts of the end.
	for {
		var status unix.WaitStatus
		_, werr := unix.Wait4(p.Pid, &status, 0, nil)
		if werr == unix.EINTR || werr == nil && status.Stopped() {
			continue
		}
		break
	}
	p.Release()
	return f, err
}

func mappings(ranges []IDRange) []syscall.SysProcIDMap {
	var out []syscall.SysProcIDMap
	for _, r := range ranges {
		out = append(out, syscall.SysProcIDMap{ContainerID: int(r.Inside), HostID: int(r.Outside), Size: int(r.Count)})
	}
	return out
}

// mapTree clones the tree at dir as a detached mount whose ids go through ns.
func mapTree(dir string, ns *os.File) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("clone tree %q: %w", dir, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("map ids of %q: %w", dir, err)
	}
	return os.NewFile(uintptr(fd), dir), nil
}
