//go:build linux

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/runner/sandbox"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// bindVolumes turns the mounts of volumes and images into binds of folders, or
// into trees that hod opens itself: what is shown of an image, or by a path
// inside of a volume that may be full of links, is no path of the host's.
func (l *launch) bindVolumes(ctx context.Context) error {
	var left []MountSpec
	for i, m := range l.o.Mounts {
		var tree *os.File
		var err error
		switch m.Type {
		case "volume":
			tree, err = l.volume(ctx, &m)
		case "image":
			tree, err = l.image(ctx, m, strconv.Itoa(i))
		case "bind":
			err = findSource(m)
		}
		if err != nil {
			return err
		}
		if tree == nil {
			left = append(left, m)
		} else if err := l.show(tree, m); err != nil {
			return err
		}
	}
	l.o.Mounts = left
	return nil
}

// volumesOf are the volumes of the store that the container lies in.
func volumesOf(c *Container) *Volumes {
	return &Volumes{dir: filepath.Join(filepath.Dir(filepath.Dir(c.Dir)), "volumes")}
}

// show adds an open tree to those that the sandbox attaches.
func (l *launch) show(tree *os.File, m MountSpec) error {
	l.trees = append(l.trees, sandbox.FDMount{Target: m.Target, FD: tree, ReadOnly: m.ReadOnly, Map: m.Type == "volume"})
	if l.o.Runtime != "" {
		return fmt.Errorf("mount at %s: runtime %q takes no image and no part of a volume; it can have the whole volume", m.Target, l.o.Runtime)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(tree.Fd()), &st); err != nil {
		return fmt.Errorf("mount at %s: %w", m.Target, err)
	}
	l.trees[len(l.trees)-1].File = st.Mode&unix.S_IFMT != unix.S_IFDIR
	return nil
}

// volume makes m a bind of a volume's folder, or opens the part of it that is
// asked for. A volume's first container fills it with what its image has there.
func (l *launch) volume(ctx context.Context, m *MountSpec) (*os.File, error) {
	vs := volumesOf(l.c)
	v, err := vs.of(l.c, *m)
	if err != nil {
		return nil, err
	}
	o := VolumeOptions{Options: v.Options}
	dir, readOnly, bind := o.bind()
	switch {
	case bind:
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("mount volume %s: its device: %w", v.Name, err)
		}
		v.Mountpoint, m.ReadOnly = dir, m.ReadOnly || readOnly
	case o.mounts():
		use, err := vs.attach(v)
		if err != nil {
			return nil, err
		}
		l.claims = append(l.claims, claim{vs, v.Name, use})
	}
	if m.Subpath != "" {
		tree, err := rootfs.Mount{Source: v.Mountpoint}.Part(m.Subpath)
		if err != nil {
			err = fmt.Errorf("volume %s: %w", v.Name, err)
		}
		return tree, err
	}
	if !m.NoCopy && !readOnly {
		if err := l.fill(ctx, vs, v, m.Target); err != nil {
			return nil, err
		}
	}
	m.Type, m.Source = "bind", v.Mountpoint
	return nil, nil
}

// claim is a volume whose file system stays mounted.
type claim struct {
	vs   *Volumes
	name string
	use  *os.File
}

func (c claim) close() error {
	c.use.Close()
	return c.vs.release(c.name)
}

// image opens an image, or a part of it.
func (l *launch) image(ctx context.Context, m MountSpec, number string) (*os.File, error) {
	var chain layers.Chain
	for _, d := range m.Chain {
		chain = append(chain, digest.Digest(d))
	}
	dir := l.c.file("image-" + number)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("mount image %s: %w", m.Source, err)
	}
	o := layers.MountOptions{Dir: dir}
	if l.ids.lease != nil {
		o.UIDs, o.GIDs = l.ids.ranges, l.ids.gids
	}
	snap, err := l.store.Mount(ctx, chain, o)
	if err != nil {
		return nil, fmt.Errorf("mount image %s: %w", m.Source, err)
	}
	defer snap.Close()
	tree, err := snap.Root().Part(m.Subpath)
	if err != nil {
		return nil, fmt.Errorf("mount image %s: %w", m.Source, err)
	}
	return tree, nil
}

// findSource makes sure that a bind has a source.
func findSource(m MountSpec) error {
	if m.CreateSrc {
		if err := os.MkdirAll(m.Source, 0o755); err != nil && !os.IsExist(err) {
			if _, serr := os.Stat(m.Source); serr != nil {
				return fmt.Errorf("make mount source: %w", err)
			}
		}
	}
	if _, err := os.Stat(m.Source); err != nil {
		return fmt.Errorf("bind source path does not exist: %s", m.Source)
	}
	return nil
}

// MakesMounts says whether hod itself must mount for the container, which takes
// a namespace of its own from who is not root.
func (cs *Containers) MakesMounts(o ContainerOptions) bool {
	for _, m := range o.Mounts {
		if m.Type == "image" || m.Subpath != "" || m.Volume.mounts() {
			return true
		}
		if m.Type != "volume" || m.Source == "" {
			continue
		}
		if v, err := cs.volumes.Inspect(m.Source); err == nil && (VolumeOptions{Options: v.Options}).mounts() {
			return true
		}
	}
	return false
}
