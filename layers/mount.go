package layers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/rootfs"
	"golang.org/x/sys/unix"
)

// MountOptions of Mount.
type MountOptions struct {
	// Writable gives the snapshot a top of its own.
	Writable bool
	// Dir is where upper and work lie; it is on the store's file system and stays
	// the caller's. Empty means a place in the store that Close clears away.
	Dir string
}

// Snapshot is a chain ready to be mounted, with or without a writable top.
type Snapshot struct {
	s     *Store
	chain Chain
	mount rootfs.Mount
	trees []string
	dir   string
	own   bool // dir is ours
}

// Mount makes a snapshot of a chain, unpacking the layers that have no tree. It
// makes no mount itself: [Snapshot.Root] says which one to make. The chain is
// held until the store is closed.
func (s *Store) Mount(ctx context.Context, chain Chain, o MountOptions) (*Snapshot, error) {
	snap := &Snapshot{s: s, chain: chain, dir: o.Dir, own: o.Dir == ""}
	if err := snap.prepare(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("mount chain %s: %w", chain.ID(), err), snap.Close())
	}
	return snap, nil
}

func (n *Snapshot) prepare(ctx context.Context, o MountOptions) error {
	n.mount.Type = "overlay"
	for i := len(n.chain) - 1; i >= 0; i-- { // the uppermost first
		tree, err := n.s.treeOf(ctx, n.chain, i)
		if err != nil {
			return err
		}
		n.trees = append(n.trees, tree)
		// The kernel refuses a folder that is there twice, and of equal layers the uppermost says all.
		if !slices.Contains(n.mount.Lower, tree) {
			n.mount.Lower = append(n.mount.Lower, tree)
		}
	}
	if n.own {
		var err error
		if n.dir, err = n.s.temp(); err != nil {
			return err
		}
		if err := os.Mkdir(n.dir, 0o700); err != nil {
			return err
		}
	}
	// An overlay needs a lower folder, and without a top it needs two.
	if len(n.mount.Lower) == 0 || !o.Writable && len(n.mount.Lower) == 1 {
		empty := filepath.Join(n.dir, "empty")
		if err := makeDir(empty, 0o755); err != nil {
			return err
		}
		n.mount.Lower = append(n.mount.Lower, empty)
	}
	if !o.Writable {
		return nil
	}
	n.mount.Upper, n.mount.Work = filepath.Join(n.dir, "upper"), filepath.Join(n.dir, "work")
	if err := makeDir(n.mount.Work, 0o700); err != nil {
		return err
	}
	return likeRoot(n.mount.Upper, n.mount.Lower[0])
}

func makeDir(path string, perm os.FileMode) error {
	if err := os.Mkdir(path, perm); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.Chmod(path, perm)
}

// likeRoot makes an upper folder: the mounted root has its mode and owner.
func likeRoot(upper, lower string) error {
	var st unix.Stat_t
	if err := unix.Stat(lower, &st); err != nil {
		return err
	}
	err := os.Mkdir(upper, 0o700)
	if errors.Is(err, os.ErrExist) {
		return nil // of a container that starts again
	}
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(upper, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return unix.Chmod(upper, st.Mode&0o7777)
}

// Root is the mount to make.
func (n *Snapshot) Root() rootfs.Mount { return n.mount }

// Trees are the folders of the chain's layers, from the top down.
func (n *Snapshot) Trees() []string { return n.trees }

// Upper is the folder that takes what is written; empty when nothing can be.
func (n *Snapshot) Upper() string { return n.mount.Upper }

// Chain is what lies below the top.
func (n *Snapshot) Chain() Chain { return n.chain }

// View shows the chain without its top.
func (n *Snapshot) View(ctx context.Context) (*diff.View, error) { return n.s.View(ctx, n.chain) }

// Commit makes a layer of what was written. The mount is gone by then. The layer
// is durable once PutImage names it; a top with no change is the empty layer.
// The top becomes the layer's tree when it is in the store, and then the
// snapshot is used up: Close is what remains.
func (n *Snapshot) Commit(ctx context.Context, o diff.PackOptions) (LayerInfo, error) {
	info, err := n.commit(ctx, o)
	if err != nil {
		return info, fmt.Errorf("commit snapshot: %w", err)
	}
	return info, nil
}

func (n *Snapshot) commit(ctx context.Context, o diff.PackOptions) (LayerInfo, error) {
	if n.mount.Upper == "" {
		return LayerInfo{}, fmt.Errorf("it is read-only")
	}
	if os.Geteuid() != 0 { // one owner on disk, and no right to trusted attributes
		o.UserXattr, o.SingleID = true, true
	}
	below, err := n.View(ctx)
	if err != nil {
		return LayerInfo{}, err
	}
	w, err := n.s.CreateLayer(LayerOptions{})
	if err != nil {
		return LayerInfo{}, err
	}
	defer w.Close()
	index, err := diff.PackUpper(ctx, n.mount.Upper, below, w, o)
	if err != nil {
		return LayerInfo{}, err
	}
	w.o.SelfContained = index.SelfContained
	w.o.Index = func() ([]byte, error) { return encodeIndex(index) }
	info, err := w.commit(ctx)
	if err != nil || !n.own || !info.SelfContained || info.HasTree {
		return info, err
	}
	return info, n.adopt(ctx, info.DiffID, index, o)
}

// Close clears away what belongs to the snapshot, unless the caller gave the
// folder.
func (n *Snapshot) Close() error {
	if !n.own || n.dir == "" {
		return nil
	}
	dir := n.dir
	n.dir = ""
	if err := n.s.throw(dir); err != nil {
		return fmt.Errorf("close snapshot: %w", err)
	}
	if _, err := n.s.emptyTrash(context.Background()); err != nil {
		return fmt.Errorf("close snapshot: %w", err)
	}
	return nil
}

// ReadTop reads the tar of what was written so far, for hod diff and hod commit
// of a container whose folder the caller keeps.
func (n *Snapshot) ReadTop(ctx context.Context, w io.Writer, o diff.PackOptions) (*diff.Index, error) {
	below, err := n.View(ctx)
	if err != nil {
		return nil, err
	}
	return diff.PackUpper(ctx, n.mount.Upper, below, w, o)
}
