//go:build linux

package runner

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hodbuild/hod/layers/userns"
	"golang.org/x/sys/unix"
)

// A volume that is a file system of its own (type=tmpfs, nfs, ext4 …) is mounted
// at its folder while containers use it: each holds the file "use" locked, shared,
// so that the kernel ends a claim with its process. Without root the mount is in
// the namespace of one hod, which nobody shares: the lock is exclusive then.

// mountFlags are the words of a volume's options that are flags of mount(2).
var mountFlags = map[string]uintptr{
	"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
	"sync": unix.MS_SYNCHRONOUS, "noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME,
	"relatime": unix.MS_RELATIME, "strictatime": unix.MS_STRICTATIME, "rw": 0, "defaults": 0,
}

// attach mounts a volume where it is not yet, and returns the claim on it.
func (vs *Volumes) attach(v *Volume) (*os.File, error) {
	dir := filepath.Dir(v.Mountpoint)
	use, err := os.OpenFile(filepath.Join(dir, "use"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("mount volume %s: %w", v.Name, err)
	}
	how := unix.LOCK_SH
	if userns.Here() != userns.Root {
		how = unix.LOCK_EX | unix.LOCK_NB
	}
	err = unix.Flock(int(use.Fd()), how)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errors.New("another container has it, and without root its mount cannot be shared")
	}
	if err == nil {
		err = vs.alone(v.Name, func() error {
			if isMountPoint(v.Mountpoint) {
				return nil
			}
			return mountOptions(v.Options).mount(v.Mountpoint)
		})
	}
	if err != nil {
		use.Close()
		return nil, fmt.Errorf("mount volume %s: %w", v.Name, err)
	}
	return use, nil
}

// release takes a volume's mount away when nobody claims it any more.
func (vs *Volumes) release(name string) error {
	v, err := vs.Inspect(name)
	if err != nil || !(VolumeOptions{Options: v.Options}).mounts() {
		return nil
	}
	use, err := os.OpenFile(filepath.Join(filepath.Dir(v.Mountpoint), "use"), os.O_RDWR, 0)
	if missing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unmount volume %s: %w", name, err)
	}
	defer use.Close()
	return vs.alone(name, func() error {
		if unix.Flock(int(use.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || !isMountPoint(v.Mountpoint) {
			return nil
		}
		err := unix.Unmount(v.Mountpoint, 0)
		if err != nil && !errors.Is(err, unix.EBUSY) { // somebody looks at it; the next takes it away
			return fmt.Errorf("unmount volume %s: %w", name, err)
		}
		return nil
	})
}

// alone runs do while no other hod mounts or unmounts the volume.
func (vs *Volumes) alone(name string, do func() error) error {
	f, err := os.Open(filepath.Join(vs.dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return os.NewSyscallError("flock", err)
	}
	return do()
}

func isMountPoint(dir string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// mountOptions are type, device and o of a volume.
type mountOptions map[string]string

func (o mountOptions) mount(at string) error {
	var flags uintptr
	data := slices.DeleteFunc(strings.Split(o["o"], ","), func(word string) bool {
		flag, ok := mountFlags[word]
		flags |= flag
		return ok || word == ""
	})
	if strings.HasPrefix(o["type"], "nfs") || o["type"] == "cifs" { // the kernel resolves no names
		for i, word := range data {
			host, ok := strings.CutPrefix(word, "addr=")
			if !ok || net.ParseIP(host) != nil {
				continue
			}
			ips, err := net.LookupIP(host)
			if err != nil {
				return err
			}
			data[i] = "addr=" + ips[0].String()
		}
	}
	err := unix.Mount(o["device"], at, o["type"], flags, strings.Join(data, ","))
	switch {
	case errors.Is(err, unix.EPERM) && userns.Here() != userns.Root:
		return fmt.Errorf("type %s: without root a volume is a folder, a bind (type=none,o=bind) or memory (type=tmpfs)", o["type"])
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("type %s: this kernel has no such file system", o["type"])
	case err != nil:
		return fmt.Errorf("device %q of type %s with options %q: %w", o["device"], o["type"], withoutPassword(o["o"]), err)
	}
	return nil
}

// withoutPassword is what of a file system's options may be printed.
func withoutPassword(options string) string {
	words := strings.Split(options, ",")
	for i, word := range words {
		if key, _, ok := strings.Cut(word, "="); ok && strings.HasPrefix(key, "pass") {
			words[i] = key + "=…"
		}
	}
	return strings.Join(words, ",")
}
