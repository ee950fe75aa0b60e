//go:build linux

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
	"golang.org/x/sys/unix"
)

// Refused says whether an error of Overlay means that there can be no overlay here: no right to mount, a kernel without
// it, or a file system that cannot be its upper one, such as another overlay or NFS.
func Refused(err error) bool {
	for _, no := range []error{unix.EPERM, unix.EINVAL, unix.ENODEV, unix.ENOSYS, unix.EOPNOTSUPP} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// Unfit says whether a folder lies where an overlay can have no upper one, and where trees may not say what is deleted in
// overlay's own way.
func Unfit(dir string) bool {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	return err == nil && (st.Type == unix.OVERLAYFS_SUPER_MAGIC || st.Type == unix.NFS_SUPER_MAGIC)
}

// Copy makes at dst, a new folder, what an overlay of the trees would show; the first tree is the uppermost. Files are
// clones that share their blocks where the file system has such, else copies: never links, which a write would change in
// the layer too. Files that are one in a layer are one in the copy.
func Copy(ctx context.Context, trees []string, dst string) error {
	if err := errors.Join(os.Mkdir(dst, 0o700), os.Chmod(dst, 0o755)); err != nil { // whatever the umask
		return err
	}
	to, err := os.OpenFile(dst, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer to.Close()
	c := &copier{ctx: ctx, owners: userns.Here() != userns.Single, prefix: "trusted.overlay."}
	if userns.Here() != userns.Root {
		c.prefix = "user.overlay."
	}
	for i := len(trees) - 1; i >= 0; i-- {
		from, err := os.OpenFile(trees[i], unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		c.links, c.root = map[[2]uint64]string{}, to
		err = c.folder(from, to, "")
		from.Close()
		if err != nil {
			return fmt.Errorf("copy tree %q: %w", trees[i], err)
		}
	}
	return nil
}

type copier struct {
	ctx    context.Context
	owners bool
	prefix string
	root   *os.File
	links  map[[2]uint64]string // first copies of the files of this tree that have several names
	names  [64 << 10]byte       // of extended attributes
	value  [64 << 10]byte
}

// folder merges an open folder of a tree into an open folder of the copy.
func (c *copier) folder(from, to *os.File, path string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	names, err := from.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.entry(int(from.Fd()), int(to.Fd()), name, strings.TrimPrefix(path+"/"+name, "/")); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return err
	}
	if err := c.meta(int(from.Fd()), int(to.Fd()), &st); err != nil {
		return err
	}
	return setTimes(int(to.Fd()), &st)
}

func (c *copier) entry(from, to int, name, path string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return c.dir(from, to, name, path)
	}
	if err := rootfs.RemoveAt(to, name); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 || c.ownWhiteout(from, name, &st) {
		return nil // a deletion
	}
	if st.Nlink > 1 {
		id := [2]uint64{st.Dev, st.Ino}
		if first, ok := c.links[id]; ok {
			return unix.Linkat(int(c.root.Fd()), first, to, name, 0)
		}
		c.links[id] = path
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		return c.file(from, to, name, &st)
	}
	return c.special(from, to, name, &st)
}

// ownPrefix is diff.OwnPrefix.
const ownPrefix = "user.hod."

func marked(fd int, attribute string) bool {
	var mark [2]byte
	n, err := unix.Fgetxattr(fd, attribute, mark[:])
	return err == nil && n == 1 && mark[0] == 'y'
}

// ownWhiteout tells a deletion where no device can say it.
func (c *copier) ownWhiteout(dir int, name string, st *unix.Stat_t) bool {
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != 0 {
		return false
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return marked(fd, ownPrefix+"whiteout")
}

func openDir(at int, name string) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (c *copier) dir(from, to int, name, path string) error {
	src, err := openDir(from, name)
	if err != nil {
		return err
	}
	defer src.Close()
	opaque := marked(int(src.Fd()), c.prefix+"opaque") || marked(int(src.Fd()), ownPrefix+"opaque")
	dst, err := openDir(to, name)
	if err == nil && opaque || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		dst.Close()
		if err := rootfs.RemoveAt(to, name); err != nil {
			return err
		}
		err = unix.ENOENT
		dst = nil
	}
	if dst == nil {
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		if err := unix.Mkdirat(to, name, 0o700); err != nil {
			return err
		}
		if dst, err = openDir(to, name); err != nil {
			return err
		}
	}
	defer dst.Close()
	return c.folder(src, dst, path)
}

func (c *copier) file(from, to int, name string, st *unix.Stat_t) error {
	src, err := unix.Openat(from, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	dst, err := unix.Openat(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	if err := c.content(src, dst); err != nil {
		return err
	}
	if err := c.meta(src, dst, st); err != nil {
		return err
	}
	return setTimes(dst, st)
}

// content clones the blocks where it can, and copies them where not.
func (c *copier) content(src, dst int) error {
	if unix.IoctlFileClone(dst, src) == nil {
		return nil
	}
	for {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		n, err := unix.CopyFileRange(src, nil, dst, nil, 16<<20, 0)
		if n == 0 && err == nil {
			return nil
		}
		if err == unix.EXDEV || err == unix.EINVAL || err == unix.ENOSYS || err == unix.EOPNOTSUPP {
			break
		}
		if err != nil {
			return os.NewSyscallError("copy_file_range", err)
		}
	}
	_, err := io.Copy(fdWriter(dst), fdReader(src))
	return err
}

type (
	fdReader int
	fdWriter int
)

func (f fdReader) Read(p []byte) (int, error) {
	n, err := unix.Read(int(f), p)
	for err == unix.EINTR {
		n, err = unix.Read(int(f), p)
	}
	if n == 0 && err == nil && len(p) > 0 {
		err = io.EOF
	}
	return max(n, 0), err
}

func (f fdWriter) Write(p []byte) (int, error) { return unix.Write(int(f), p) }

func (c *copier) special(from, to int, name string, st *unix.Stat_t) error {
	var err error
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		target := make([]byte, 4097)
		n, rerr := unix.Readlinkat(from, name, target)
		if rerr != nil {
			return rerr
		}
		err = unix.Symlinkat(string(target[:n]), to, name)
	} else {
		err = unix.Mknodat(to, name, st.Mode, int(st.Rdev))
	}
	if err == nil && c.owners {
		err = unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		err = unix.Fchmodat(to, name, st.Mode&0o7777, 0)
	}
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(to, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// meta copies owner, mode and extended attributes but overlay's own.
func (c *copier) meta(src, dst int, st *unix.Stat_t) error {
	if c.owners {
		if err := unix.Fchown(dst, int(st.Uid), int(st.Gid)); err != nil {
			return os.NewSyscallError("fchown", err)
		}
	}
	if err := unix.Fchmod(dst, st.Mode&0o7777); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	n, err := unix.Flistxattr(src, c.names[:])
	if err == unix.EOPNOTSUPP || n == 0 {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("flistxattr", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(c.names[:n]), "\x00"), "\x00") {
		if strings.HasPrefix(name, c.prefix) || strings.HasPrefix(name, ownPrefix) || strings.HasPrefix(name, "security.selinux") {
			continue
		}
		k, err := unix.Fgetxattr(src, name, c.value[:])
		if err == nil {
			err = unix.Fsetxattr(dst, name, c.value[:k], 0)
		}
		if err != nil && err != unix.EPERM && err != unix.EOPNOTSUPP && err != unix.ENODATA {
			return fmt.Errorf("copy extended attribute %s: %w", name, err)
		}
	}
	return nil
}

func setTimes(fd int, st *unix.Stat_t) error {
	times := []unix.Timespec{st.Atim, st.Mtim}
	return os.NewSyscallError("utimensat", unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), times, 0))
}

// ShowsOwners says whether the file system of a folder can be seen with the owners that are asked for, with a
// *userns.MapError where it cannot: before much is copied to it.
func ShowsOwners(dir string, o Options) error {
	if o.ids() == nil || userns.Here() == userns.Single {
		return nil
	}
	m, err := Folder(dir, o)
	return errors.Join(err, m.Close())
}

// Folder shows a folder as a mount, as Overlay shows an overlay: made and detached where that may be, else described. It
// is what takes the place of an overlay when its content was copied.
func Folder(dir string, o Options) (rootfs.Mount, error) {
	m := rootfs.Mount{Type: "bind", Source: dir, Options: []string{"bind"}, Upper: dir}
	if userns.Here() == userns.Single {
		return m, nil
	}
	if ids := o.ids(); ids != nil {
		ns, err := userns.File(*ids)
		if err != nil {
			return m, err
		}
		defer ns.Close()
		m.Detached, err = userns.IDMapTree(dir, ns)
		return m, err
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return m, &os.PathError{Op: "open_tree", Path: dir, Err: err}
	}
	m.Detached = os.NewFile(uintptr(fd), dir)
	return m, nil
}
