package rootfs

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Overlay is an overlay of open folders; the first of Lower is the uppermost. Without Upper it is read-only.
type Overlay struct {
	Lower       []*os.File
	Upper, Work *os.File
	Options     []string // "key=value", or a flag
	Attrs       int      // MOUNT_ATTR_…
}

// KernelFrom says whether the running kernel is of that version or newer.
func KernelFrom(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// NamesLayersApart says whether the kernel takes an overlay's folders one by one (lowerdir+, Linux 6.7). Older ones take a
// string of all, and 255 bytes of it; before 6.5 they say what they refuse only when the mount is made.
func NamesLayersApart() bool { return KernelFrom(6, 7) }

// Mount makes the overlay and leaves it attached nowhere. Where layers are not named apart, names must be short: they are
// the numbers of descriptors, and the thread's working folder the one of descriptors; then the caller's thread must be
// locked and end with its goroutine.
func (o Overlay) Mount() (*os.File, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	settings, err := o.settings()
	if err != nil {
		return nil, err
	}
	for _, s := range settings {
		key, value, valued := strings.Cut(s, "=")
		if valued {
			err = unix.FsconfigSetString(fs, key, value)
		} else {
			err = unix.FsconfigSetFlag(fs, key)
		}
		if err != nil {
			return nil, fmt.Errorf("set %s: %w", s, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, o.Attrs)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	return os.NewFile(uintptr(fd), "overlay"), nil
}

func (o Overlay) settings() ([]string, error) {
	const descriptors = "/proc/self/fd/"
	number := func(f *os.File) string { return strconv.Itoa(int(f.Fd())) }
	var out, numbers []string
	for _, l := range o.Lower {
		out, numbers = append(out, "lowerdir+="+descriptors+number(l)), append(numbers, number(l))
	}
	if !NamesLayersApart() {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return nil, os.NewSyscallError("unshare", err)
		}
		if err := unix.Chdir(descriptors); err != nil {
			return nil, &os.PathError{Op: "chdir", Path: descriptors, Err: err}
		}
		out = []string{"lowerdir=" + strings.Join(numbers, ":")}
	}
	if o.Upper != nil {
		out = append(out, "upperdir="+descriptors+number(o.Upper), "workdir="+descriptors+number(o.Work))
	}
	return append(out, o.Options...), nil
}

// MountOverlay makes the overlay that m describes by paths, attached nowhere. The caller closes it. It needs the privilege
// to mount.
func MountOverlay(m Mount, attrs int) (*os.File, error) {
	o := Overlay{Options: m.Options, Attrs: attrs}
	var opened []*os.File
	defer func() {
		for _, f := range opened {
			f.Close()
		}
	}()
	for _, path := range append(append([]string{}, m.Lower...), m.Upper, m.Work) {
		if path == "" {
			break
		}
		f, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, fmt.Errorf("mount overlay: %w", err)
		}
		opened = append(opened, f)
	}
	o.Lower = opened[:len(m.Lower)]
	if m.Upper != "" {
		o.Upper, o.Work = opened[len(m.Lower)], opened[len(m.Lower)+1]
	}
	tree, err := onOwnThread(o.Mount)
	if err != nil {
		return nil, fmt.Errorf("mount overlay of %d layers: %w", len(m.Lower), err)
	}
	return tree, nil
}

// onOwnThread makes a mount on a thread that ends with it, where one is needed.
func onOwnThread(mount func() (*os.File, error)) (f *os.File, err error) {
	if NamesLayersApart() {
		return mount()
	}
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		f, err = mount()
		close(done)
	}()
	<-done
	return f, err
}
