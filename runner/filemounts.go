//go:build linux

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"strconv"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/rootfs"
	"golang.org/x/sys/unix"
)

// mounted is a tree and where a container has it.
type mounted struct {
	target string
	tree   *os.File
}

// showMounts lets the files of a container that does not run be seen with its
// volumes, binds and images, as those of one that runs: root is what the rest is
// mounted in. All of it is in a mount namespace of a thread that waits for Close.
func (f *Files) showMounts(ctx context.Context, store *layers.Store, c *Container, root *os.File) error {
	l := &launch{store: store, c: c, o: c.Options, ids: &idMap{}}
	f.closes = append(f.closes, l.undo)
	var list []mounted
	defer func() {
		for _, m := range list {
			m.tree.Close()
		}
	}()
	for i, m := range topDown(c.Options.Mounts, func(m MountSpec) string { return m.Target }) {
		tree, err := l.openMount(ctx, m, strconv.Itoa(i))
		if err != nil {
			return err
		}
		if tree != nil {
			list = append(list, mounted{m.Target, tree})
		}
	}
	if len(list) == 0 {
		return nil
	}
	ready, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked: the namespace ends with the thread
		ready <- f.attach(root, list)
		<-done
	}()
	f.closes = append(f.closes, func() error { close(done); return nil })
	return <-ready
}

// openMount opens what a container has somewhere; nil for memory, which it has
// only while it runs, and for a source that is gone.
func (l *launch) openMount(ctx context.Context, m MountSpec, number string) (tree *os.File, err error) {
	switch m.Type {
	case "tmpfs":
		return nil, nil
	case "image":
		return l.image(ctx, m, number)
	case "volume":
		tree, err = l.volume(ctx, &m)
	}
	if tree == nil && err == nil {
		var fd int
		fd, err = unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		tree = os.NewFile(uintptr(fd), m.Source)
	}
	if err == nil && m.ReadOnly {
		err = unix.MountSetattr(int(tree.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	if err != nil {
		return nil, fmt.Errorf("open what is mounted at %s: %w", m.Target, err)
	}
	return tree, nil
}

// attach makes the mounts in a namespace of the calling thread's own.
func (f *Files) attach(root *os.File, list []mounted) error {
	if err := rootfs.OwnMounts(); err != nil {
		return err
	}
	if err := unix.MoveMount(int(root.Fd()), "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	for _, m := range list {
		at, err := f.mountPoint(m)
		if err != nil {
			return err
		}
		err = unix.MoveMount(int(m.tree.Fd()), "", int(at.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
		at.Close()
		if err != nil {
			return fmt.Errorf("mount at %s: %w", m.target, err)
		}
	}
	return nil
}

// mountPoint finds the place of a mount, or makes it, as a start would.
func (f *Files) mountPoint(m mounted) (*os.File, error) {
	at, err := f.OpenFile(m.target, unix.O_PATH, 0)
	if !missing(err) {
		return at, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(m.tree.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = f.MkdirAll(m.target, 0o755, -1, -1)
	} else if err = f.MkdirAll(path.Dir(m.target), 0o755, -1, -1); err == nil {
		err = f.Mknod(m.target, unix.S_IFREG|0o644, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("make mount point %s: %w", m.target, err)
	}
	return f.OpenFile(m.target, unix.O_PATH, 0)
}
