//go:build linux

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Files is the root file system of a container, as a program in it sees it. A
// running one is looked into from outside; one that does not run is mounted, and
// not started while somebody does so.
type Files struct {
	*rootfs.Root
	ids  []layers.IDRange // of the container's user namespace, seen from here
	gids []layers.IDRange
	// running says that they are seen through a process, with all that is mounted there.
	running bool
	closes  []func() error
}

// Close lets go of the container.
func (f *Files) Close() error {
	var errs []error
	for _, c := range slices.Backward(f.closes) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// Files opens the root of a container, with what it has mounted there or, where it
// does not run, also without. Without root, one that does not run can be mounted
// only inside of a user namespace.
func (cs *Containers) Files(ctx context.Context, store *layers.Store, ref string, mounts bool) (*Files, error) {
	c, s, err := cs.Lookup(ctx, ref)
	if err != nil {
		return nil, err
	}
	f := &Files{running: s.Running()}
	if f.running {
		if given := userns.Given(); given != nil {
			f.Root = rootfs.RootFrom(given)
		} else if f.Root, err = rootfs.OpenRoot(fmt.Sprintf("/proc/%d/root", s.Pid)); err != nil {
			return nil, fmt.Errorf("open files of container %s: %w", c.Name, err)
		}
		f.closes = append(f.closes, f.Root.Close)
		f.ids = userns.ReadMap(fmt.Sprintf("/proc/%d/uid_map", s.Pid))
		f.gids = userns.ReadMap(fmt.Sprintf("/proc/%d/gid_map", s.Pid))
		return f, nil
	}
	root, err := f.mount(ctx, store, c)
	if err == nil && mounts && root != nil {
		err = f.showMounts(ctx, store, c, root)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open files of container %s: %w", c.Name, err), f.Close())
	}
	return f, nil
}

// mount shows the container's tree as the root. It returns the mount, which is attached nowhere; nil where none can be
// made.
func (f *Files) mount(ctx context.Context, store *layers.Store, c *Container) (*os.File, error) {
	lock, err := lockStopped(ctx, c)
	if err != nil {
		return nil, err
	}
	if lock == nil {
		return nil, errors.New("another hod is starting it or copying its files; try again")
	}
	f.closes = append(f.closes, lock.Close)
	snap, err := store.Mount(ctx, c.chain(), layers.MountOptions{Writable: true, Dir: c.Dir})
	if err != nil {
		return nil, err
	}
	f.closes = append(f.closes, snap.Close)
	m := snap.Root()
	tree := m.Detached
	switch {
	case tree != nil:
		f.Root = rootfs.RootFrom(tree)
		return tree, nil
	case m.Type == "overlay":
		tree, err = rootfs.MountOverlay(m, 0)
	default:
		tree, err = m.Part("/")
	}
	if errors.Is(err, unix.EPERM) { // who may mount nothing starts nothing, so nothing is mounted there
		if f.Root, err = rootfs.OpenRoot(m.Source); err == nil {
			f.closes = append(f.closes, f.Root.Close)
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	f.closes = append(f.closes, tree.Close)
	f.Root = rootfs.RootFrom(tree)
	return tree, nil
}

func (c *Container) chain() layers.Chain {
	var chain layers.Chain
	for _, d := range c.Chain {
		chain = append(chain, digest.Digest(d))
	}
	return chain
}

// changed is the part of a container's tree that it wrote itself.
func (c *Container) changed(store *layers.Store) (*layers.Snapshot, bool) {
	top := store.Top(c.chain(), c.Dir)
	if _, err := os.Lstat(top.Upper()); err != nil {
		return nil, false // it never ran
	}
	return top, true
}

// Change is a line of diff: A for added, C for changed, D for deleted.
type Change struct {
	Kind byte
	Path string
}

// Diff lists what a container changed in its image's files.
func (cs *Containers) Diff(ctx context.Context, store *layers.Store, ref string) ([]Change, error) {
	c, _, err := cs.Lookup(ctx, ref)
	if err != nil {
		return nil, err
	}
	top, ok := c.changed(store)
	if !ok {
		return nil, nil
	}
	below, err := top.View(ctx)
	if err != nil {
		return nil, err
	}
	index, err := top.ReadTop(ctx, discard{}, diff.PackOptions{Timestamps: diff.Source, Stub: c.stub})
	if err != nil {
		return nil, fmt.Errorf("compare files of container %s: %w", c.Name, err)
	}
	var list []Change
	for _, e := range index.Entries {
		kind := byte('A')
		if e.Path == "" {
			continue
		}
		if e.Type == diff.TypeWhiteout {
			kind = 'D'
		} else if _, err := below.Lstat(e.Path); err == nil {
			kind = 'C'
		}
		list = append(list, Change{kind, "/" + e.Path})
	}
	return list, nil
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// stub says whether an empty file or folder was made only to mount something there.
func (c *Container) stub(path string) bool {
	if slices.Contains([]string{"etc/hosts", "etc/hostname", "etc/resolv.conf", "proc", "sys", "dev"}, path) {
		return true
	}
	return slices.ContainsFunc(c.Options.Mounts, func(m MountSpec) bool {
		target := filepath.Clean("/" + m.Target)[1:]
		return target == path || len(target) > len(path) && target[:len(path)] == path && target[len(path)] == '/'
	})
}

// Changes makes a layer of what a container changed; one that never ran has
// none, and the answer is empty. With pause a running one stands still meanwhile.
func (cs *Containers) Changes(ctx context.Context, store *layers.Store, ref string, pause bool) (layers.LayerInfo, error) {
	c, s, err := cs.Lookup(ctx, ref)
	if err != nil {
		return layers.LayerInfo{}, err
	}
	if pause && s.Status == StatusRunning && s.Cgroup != "" {
		if err := cs.Pause(ctx, c.ID); err != nil {
			return layers.LayerInfo{}, err
		}
		defer cs.Unpause(context.WithoutCancel(ctx), c.ID)
	}
	top, ok := c.changed(store)
	if !ok {
		return layers.LayerInfo{}, nil
	}
	info, err := top.Commit(ctx, diff.PackOptions{Timestamps: diff.Source, Stub: c.stub})
	if err != nil {
		return info, fmt.Errorf("make layer of container %s: %w", c.Name, err)
	}
	return info, nil
}
