//go:build linux

package sandbox

import (
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Seal executes this program again, with the same arguments, from a read-only
// mount of its own file (where none can be made, from a sealed copy in memory),
// and returns once it runs from there. A program of an image can be a script
// for #!/proc/self/exe: what it names is us, and who is root in the machine's
// own user namespace could write into our file afterwards (CVE-2019-5736).
//
// It must be called before anything was done that cannot be done twice.
func Seal() error {
	if sealed() {
		return nil
	}
	f, err := writeProtected()
	if err != nil {
		f, err = copyInMemory()
	}
	if err == nil {
		err = syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.Args, os.Environ())
	}
	return fmt.Errorf("protect hod's own file from the container: %w", err)
}

func writeProtected() (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, "/proc/self/exe", openTreeFlag)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "hod")
	return f, unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// SealFor is Seal where a container's processes may write what its owner may
// write of our file.
func SealFor(pid int) error {
	exe, err := os.Stat("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("protect hod's own file from the container: %w", err)
	}
	owner := exe.Sys().(*syscall.Stat_t).Uid
	for _, r := range uidMap(pid) {
		if owner >= r.Outside && owner-r.Outside < r.Count {
			return Seal()
		}
	}
	return nil
}

func sealed() bool {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return false
	}
	defer f.Close()
	var fs unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &fs) == nil && fs.Flags&unix.ST_RDONLY != 0 {
		return true
	}
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	return err == nil && seals&unix.F_SEAL_WRITE != 0
}

func copyInMemory() (*os.File, error) {
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer exe.Close()
	fd, err := unix.MemfdCreate("hod", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "hod")
	if _, err := io.Copy(f, exe); err != nil {
		return nil, err
	}
	_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	return f, err
}
