package diff

import (
	"errors"
	"fmt"
	"os"

	"github.com/hodbuild/hod/layers/userns"
	"golang.org/x/sys/unix"
)

// folderMeta is meta of a folder that needs no descriptor: it was just made, or found to be a folder, and nobody else can
// put a link there.
func (t *tree) folderMeta(dir int, name string, e *Entry) error {
	if !t.o.SingleID && (e.UID != t.uid || e.GID != t.gid) {
		if err := unix.Fchownat(dir, name, e.UID, e.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return chownError(e, err)
		}
	}
	mode := e.Mode
	if t.o.SingleID {
		mode = relaxed(*e)
	}
	return os.NewSyscallError("fchmodat", unix.Fchmodat(dir, name, mode, 0))
}

// meta sets owner, mode and extended attributes of an open file, in the order in which none undoes another.
func (t *tree) meta(fd int, e *Entry) error {
	if !t.o.SingleID && (e.UID != t.uid || e.GID != t.gid) {
		if err := unix.Fchown(fd, e.UID, e.GID); err != nil {
			return chownError(e, err)
		}
	}
	if e.IsDir() || e.Mode&^0o777 != 0 || e.Mode&t.umask != 0 || t.o.SingleID {
		mode := e.Mode
		if t.o.SingleID {
			mode = relaxed(*e)
		}
		if err := unix.Fchmod(fd, mode); err != nil {
			return os.NewSyscallError("fchmod", err)
		}
	}
	for k, v := range e.Xattrs {
		if err := unix.Fsetxattr(fd, k, []byte(v), 0); err != nil && !t.xattrIgnored(k, err) {
			return fmt.Errorf("set extended attribute %s: %w", k, err)
		}
	}
	return nil
}

// relaxed is a mode with which the one owner that there is can read what another one owns in the layer.
func relaxed(e Entry) uint32 {
	if e.IsDir() {
		return e.Mode | 0o700
	}
	return e.Mode | 0o400
}

// xattrIgnored says which attributes a file system may be unable to hold: the index still has them. Without privilege
// nothing runs with a capability of a file anyway.
func (t *tree) xattrIgnored(name string, err error) bool {
	if name == "security.capability" {
		return t.o.SingleID && errors.Is(err, unix.EPERM)
	}
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM)
}

// chownError says so when the owner is nobody here.
func chownError(e *Entry, err error) error {
	if errors.Is(err, unix.EINVAL) && !userns.Has(e.UID, e.GID) {
		return fmt.Errorf("it belongs to user %d, group %d: %w", e.UID, e.GID, userns.Missing())
	}
	return os.NewSyscallError("fchown", err)
}
