//go:build linux

package ops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner"
	"golang.org/x/sys/unix"
)

// mounter makes the mounts of one RUN, detached, and gives them up at its end.
type mounter struct {
	t       Tools
	o       Options
	ids     *runner.IDs
	mounts  []runner.Mount
	env     []string
	agents  int
	renew   func(id string) bool
	closers []func()
}

func (m *mounter) close() {
	for _, c := range slices.Backward(m.closers) {
		c()
	}
}

func (m *mounter) add(ctx context.Context, one Mount) error {
	err := m.make(ctx, one)
	if missing := userns.Missing(); missing != nil && errors.Is(err, unix.EINVAL) && (one.UID != nil || one.GID != nil) {
		return fmt.Errorf("it is to belong to user %d, group %d: %w", deref(one.UID, 0), deref(one.GID, 0), missing)
	}
	return err
}

func (m *mounter) make(ctx context.Context, one Mount) error {
	switch one.Type {
	case "bind":
		return m.bind(ctx, one)
	case "cache":
		return m.cache(ctx, one)
	case "tmpfs":
		options := []string{"mode=1777"}
		if one.Size > 0 {
			options = append(options, "size="+strconv.FormatInt(one.Size, 10))
		}
		m.mounts = append(m.mounts, runner.Mount{Target: one.Target, Type: "tmpfs", Options: options})
		return nil
	case "secret":
		return m.secret(one)
	case "ssh":
		return m.ssh(ctx, one)
	}
	return errors.New("unknown type of mount")
}

// attach hands a detached mount to the sandbox.
func (m *mounter) attach(target string, fd *os.File, readOnly bool) {
	m.closers = append(m.closers, func() { fd.Close() })
	m.mounts = append(m.mounts, runner.Mount{Target: target, Type: "fd", FD: fd, ReadOnly: readOnly})
}

// bind shows a chain, or a file or folder of it. What is written goes to a top that is thrown away.
func (m *mounter) bind(ctx context.Context, one Mount) error {
	if len(one.Chain) == 0 { // of scratch
		return m.nothing(one)
	}
	snap, err := m.t.Store.Mount(ctx, one.Chain, shownTo(m.ids, !one.ReadOnly))
	if err != nil {
		return err
	}
	m.closers = append(m.closers, func() { snap.Close() })
	fd, err := snap.Root().Part(one.Source)
	if err != nil {
		return err
	}
	m.attach(one.Target, fd, one.ReadOnly)
	return nil
}

// nothing shows an empty folder. What is written goes with it.
func (m *mounter) nothing(one Mount) error {
	if one.Source != "/" {
		return &os.PathError{Op: "open", Path: one.Source, Err: os.ErrNotExist}
	}
	mem, err := memory()
	if err != nil {
		return err
	}
	uid, gid := m.ids.Owner(0, 0)
	if err := belongsTo(mem, uid, gid); err != nil {
		mem.Close()
		return err
	}
	m.attach(one.Target, mem, one.ReadOnly)
	return nil
}

func fsmount(fs int, name string) (*os.File, error) {
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// cache shows a folder that outlives the build.
func (m *mounter) cache(ctx context.Context, one Mount) error {
	if m.renew != nil && m.renew(one.ID) {
		// One that is in use stays: another build works with it.
		err := m.t.Store.RemoveCacheMount(one.ID)
		if err != nil && !errors.Is(err, layers.ErrNotFound) && !errors.Is(err, layers.ErrBusy) {
			return fmt.Errorf("empty cache %q: %w", one.ID, err)
		}
	}
	dir, release, err := m.t.Store.CacheMount(ctx, one.ID, layers.Sharing(one.Sharing))
	if err != nil {
		return err
	}
	m.closers = append(m.closers, release)
	if err := m.fill(ctx, dir, one); err != nil {
		return err
	}
	fd, err := rootfs.Mount{Source: dir}.Part("/")
	if err != nil {
		return err
	}
	m.attach(one.Target, fd, one.ReadOnly)
	m.mounts[len(m.mounts)-1].Map = true
	return nil
}

// fill gives a new cache folder its mode and owner, and what it begins with. One that begins with a folder of a stage is
// as that folder, whatever the mount says of its owner.
func (m *mounter) fill(ctx context.Context, dir string, one Mount) error {
	list, err := os.ReadDir(dir)
	st, serr := os.Stat(dir)
	if err := errors.Join(err, serr); err != nil || len(list) > 0 || st.Mode().Perm() != 0o700 {
		return err
	}
	if one.HasChain {
		if err := m.seed(ctx, dir, one); err != nil {
			return fmt.Errorf("fill cache %q: %w", one.ID, err)
		}
		return nil
	}
	if one.UID != nil || one.GID != nil || userns.Here() != userns.Single {
		if err := os.Lchown(dir, int(deref(one.UID, 0)), int(deref(one.GID, 0))); err != nil {
			return err
		}
	}
	return unix.Chmod(dir, deref(one.Mode, 0o755)&0o7777)
}

// seed unpacks the chain's source folder into a cache folder.
func (m *mounter) seed(ctx context.Context, dir string, one Mount) error {
	view, err := m.t.Store.View(ctx, one.Chain)
	if err != nil {
		return err
	}
	files := FromView(view)
	c := Copy{Sources: []Source{{Files: files, Path: one.Source}}, Dest: "/"}
	if err := extractTo(ctx, c, dir, m.o); err != nil {
		return err
	}
	at, err := source.Resolve(files, one.Source, true)
	if err != nil {
		return err
	}
	e, err := files.Lstat(at)
	if err != nil {
		return err
	}
	if userns.Here() != userns.Single {
		if err := os.Lchown(dir, e.UID, e.GID); err != nil {
			return err
		}
	}
	return unix.Chmod(dir, e.Mode)
}

// secret shows a secret as a file that never touches a disk, or as a variable, or both.
func (m *mounter) secret(one Mount) error {
	var value []byte
	found := false
	if m.t.Secret != nil {
		value, found = m.t.Secret(one.ID)
	}
	if !found {
		if one.Required {
			return fmt.Errorf("secret %q is required: give it with --secret id=%s,src=FILE", one.ID, one.ID)
		}
		return nil
	}
	if one.Env != "" {
		m.env = append(m.env, one.Env+"="+string(value))
	}
	if one.Target == "" {
		return nil
	}
	mem, err := memory()
	if err != nil {
		return err
	}
	defer mem.Close()
	uid, gid := m.ids.Owner(deref(one.UID, 0), deref(one.GID, 0))
	if err := writeIn(mem, "secret", value, deref(one.Mode, 0o400), uid, gid); err != nil {
		return err
	}
	fd, err := rootfs.Subtree(mem, "/secret")
	if err != nil {
		return err
	}
	m.attach(one.Target, fd, false)
	return nil
}

// script shows a heredoc that begins with #! as a program.
func (m *mounter) script(name, text string) error {
	mem, err := memory()
	if err != nil {
		return err
	}
	uid, gid := m.ids.Owner(0, 0)
	if err := errors.Join(writeIn(mem, name, []byte(text), 0o755, uid, gid), belongsTo(mem, uid, gid)); err != nil {
		mem.Close()
		return err
	}
	m.attach("/dev/pipes", mem, true)
	return nil
}

// memory is a new file system in memory, attached nowhere.
func memory() (*os.File, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("secrets and scripts need the right to mount: %w", os.NewSyscallError("fsopen", err))
	}
	defer unix.Close(fs)
	err = errors.Join(unix.FsconfigSetString(fs, "mode", "0755"), unix.FsconfigCreate(fs))
	if err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	return fsmount(fs, "tmpfs")
}

func belongsTo(dir *os.File, uid, gid int) error {
	return unix.Fchownat(int(dir.Fd()), "", uid, gid, unix.AT_EMPTY_PATH)
}

func writeIn(dir *os.File, name string, data []byte, mode uint32, uid, gid int) error {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(data)
	err = errors.Join(err, f.Chown(uid, gid), unix.Fchmod(fd, mode&0o7777))
	return errors.Join(err, f.Close())
}
