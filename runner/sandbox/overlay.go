//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// MountOverlay mounts an overlay's folders in the caller, detached, so that its
// files can be read before a sandbox starts in it. The caller closes the file.
// It needs the privilege to mount.
func MountOverlay(r Root) (*os.File, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("mount overlay: %w", err)
	}
	defer unix.Close(fs)
	attrs, err := configureOverlay(fs, r)
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err != nil {
		return nil, fmt.Errorf("mount overlay of %d layers: %w", len(r.Lower), err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return nil, fmt.Errorf("mount overlay: %w", err)
	}
	return os.NewFile(uintptr(fd), "overlay"), nil
}

func configureOverlay(fs int, r Root) (attrs int, err error) {
	set := func(key, value string) {
		err = errors.Join(err, unix.FsconfigSetString(fs, key, value))
	}
	for i, l := range r.Lower {
		e := unix.FsconfigSetString(fs, "lowerdir+", l)
		if i == 0 && e == unix.EINVAL { // Linux before 6.7
			set("lowerdir", strings.Join(r.Lower, ":"))
			break
		}
		err = errors.Join(err, e)
	}
	if r.Upper != "" {
		set("upperdir", r.Upper)
		set("workdir", r.Work)
	}
	for _, o := range r.Options {
		if a, ok := mountAttrs[o]; ok {
			attrs |= int(a.set)
		} else if key, value, ok := strings.Cut(o, "="); ok {
			set(key, value)
		} else {
			err = errors.Join(err, unix.FsconfigSetFlag(fs, o))
		}
	}
	return attrs, err
}
