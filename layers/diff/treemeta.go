package diff

import (
	"errors"
	"fmt"
	"os"

	"github.com/hodbuild/hod/layers/userns"
	"golang.org/x/sys/unix"
)

// folderMeta is meta of a folder that needs no descriptor: it was just made, or found to be a folder, and nobody else can
// put a link there. fresh says that it was made with its mode.
func (t *tree) folderMeta(dir int, name string, e *Entry, fresh bool) error {
	if t.foreign(e) {
		if err := unix.Fchownat(dir, name, e.UID, e.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return chownError(e, err)
		}
	}
	mode := t.firstMode(e)
	if fresh && mode&^0o777 == 0 && mode&t.umask == 0 {
		return nil
	}
	return os.NewSyscallError("fchmodat", unix.Fchmodat(dir, name, mode, 0))
}

// foreign says that the owner of what was made is not yet that of the entry. Folders that were there before may pass theirs on.
func (t *tree) foreign(e *Entry) bool {
	return !t.o.SingleID && (e.UID != t.uid || e.GID != t.gid || t.o.Whiteouts == Delete)
}

// firstMode is the mode with which something is made. A folder passes its group on only when inherit says so.
func (t *tree) firstMode(e *Entry) uint32 {
	mode := e.Mode
	if t.o.SingleID {
		mode = relaxed(*e)
	}
	if e.IsDir() {
		mode &^= unix.S_ISGID
	}
	return mode
}

// meta sets owner, mode and extended attributes of an open file, in the order in which none undoes another.
func (t *tree) meta(fd int, e *Entry) error {
	if t.foreign(e) {
		if err := unix.Fchown(fd, e.UID, e.GID); err != nil {
			return chownError(e, err)
		}
	}
	if e.IsDir() || e.Mode&^0o777 != 0 || e.Mode&t.umask != 0 || t.o.SingleID {
		if err := unix.Fchmod(fd, t.firstMode(e)); err != nil {
			return os.NewSyscallError("fchmod", err)
		}
	}
	for k, v := range e.Xattrs {
		if k == defaultACL { // what is made in the folder would inherit it: finish sets it
			continue
		}
		if err := t.setXattr(fd, k, v); err != nil {
			return err
		}
	}
	return nil
}

// defaultACL of a folder is the list that new files in it begin with.
const defaultACL = "system.posix_acl_default"

func (t *tree) setXattr(fd int, name, value string) error {
	if err := unix.Fsetxattr(fd, name, []byte(value), 0); err != nil && !t.xattrIgnored(name, err) {
		return fmt.Errorf("set extended attribute %s: %w", name, err)
	}
	return nil
}

// inherit gives a folder of the layer what new files in it take over, its group and the list of defaultACL, now that the
// layer makes none there any more.
func (t *tree) inherit(at string, e *Entry) error {
	acl, ok := e.Xattrs[defaultACL]
	if !ok && e.Mode&unix.S_ISGID == 0 {
		return nil
	}
	fd, err := t.openDir(at)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if e.Mode&unix.S_ISGID != 0 {
		if err := unix.Fchmod(fd, t.firstMode(e)|unix.S_ISGID); err != nil {
			return os.NewSyscallError("fchmod", err)
		}
	}
	if !ok {
		return nil
	}
	return t.setXattr(fd, defaultACL, acl)
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
