package layers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/snapshot"
	"github.com/hodbuild/hod/layers/userns"
	"golang.org/x/sys/unix"
)

// IDRange maps Count ids from Inside a user namespace to Outside of it.
type IDRange = userns.Range

// MountOptions of Mount.
type MountOptions struct {
	// Writable gives the snapshot a top of its own.
	Writable bool
	// Dir is where the top lies; it is on the store's file system and stays the
	// caller's. Empty means a place in the store that Close clears away.
	Dir string
	// UIDs and GIDs show the owners on disk through a map; none: as they are.
	UIDs, GIDs []IDRange
	// Volatile gives up syncing the top: it is made again after a power cut.
	Volatile bool
}

// Snapshot is a chain shown as one tree, with or without a writable top.
type Snapshot struct {
	s     *Store
	chain Chain
	mount rootfs.Mount
	trees []string
	view  *diff.View // of chain; made when it is first asked for
	dir   string
	own   bool // dir is ours
	o     MountOptions
	// copied says that the kernel refused an overlay: the top is the whole tree, and stamps tells what is as it was.
	copied bool
	stamps diff.Stamps
}

// Mount makes a snapshot of a chain, unpacking the layers that have no tree. As
// root it makes the mount, attached nowhere; else it describes the mount, to be
// made inside a user namespace. The chain is held until the store is closed.
func (s *Store) Mount(ctx context.Context, chain Chain, o MountOptions) (*Snapshot, error) {
	snap := &Snapshot{s: s, chain: chain, dir: o.Dir, own: o.Dir == "", o: o}
	if err := snap.prepare(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("mount chain %s: %w", chain.ID(), err), snap.Close())
	}
	return snap, nil
}

// Top is the snapshot of a container's folder without its mount, which may be in
// use: to read what was written, and to commit it.
func (s *Store) Top(chain Chain, dir string) *Snapshot {
	n := &Snapshot{s: s, chain: chain, dir: dir, mount: rootfs.Mount{Upper: filepath.Join(dir, "upper")}}
	if whole := filepath.Join(dir, "copy"); s.has(whole) { // no overlay: compared by content
		n.copied, n.stamps, n.mount.Upper = true, diff.Stamps{}, whole
	}
	return n
}

// Trees makes sure that every layer of the chain has its tree and returns their
// folders, the uppermost first. They are held until the store is closed.
func (s *Store) Trees(ctx context.Context, chain Chain) ([]string, error) {
	trees := make([]string, len(chain))
	for i, id := range chain.ids() {
		dir, err := s.treeOf(ctx, chain, i, id)
		if err != nil {
			return nil, fmt.Errorf("unpack layer %s: %w", chain[i], err)
		}
		trees[len(chain)-1-i] = dir
	}
	return trees, nil
}

func (n *Snapshot) prepare(ctx context.Context, o MountOptions) error {
	if n.own {
		var err error
		if n.dir, err = n.s.temp(); err != nil {
			return err
		}
		if err := os.Mkdir(n.dir, 0o700); err != nil {
			return err
		}
	}
	for try := 0; ; try++ {
		err := n.overlay(ctx, o)
		// The tree of a layer of ours changes shelves when an image first names it.
		if !errors.Is(err, fs.ErrNotExist) || try == 3 {
			return err
		}
	}
}

func (n *Snapshot) overlay(ctx context.Context, o MountOptions) error {
	var err error
	if n.trees, err = n.s.Trees(ctx, n.chain); err != nil {
		return err
	}
	so := snapshot.Options{UIDs: o.UIDs, GIDs: o.GIDs, Volatile: o.Volatile}
	for _, tree := range n.trees {
		// The kernel refuses a folder that is there twice, and of equal layers the uppermost says all.
		if !slices.Contains(so.Lower, tree) {
			so.Lower = append(so.Lower, tree)
		}
	}
	// An overlay needs a lower folder, and without a top it needs two.
	if len(so.Lower) == 0 || !o.Writable && len(so.Lower) == 1 {
		empty := filepath.Join(n.dir, "empty")
		if err := makeDir(empty, 0o755); err != nil {
			return err
		}
		so.Lower = append(so.Lower, empty)
	}
	if forceCopies() || snapshot.Unfit(n.dir) {
		return n.copyTrees(ctx, so)
	}
	if o.Writable {
		so.Upper, so.Work = filepath.Join(n.dir, "upper"), filepath.Join(n.dir, "work")
		if err := makeDir(so.Work, 0o700); err != nil {
			return err
		}
		if err := newTop(so.Upper, so.Lower[0]); err != nil {
			return err
		}
	}
	n.mount, err = snapshot.Overlay(so)
	if snapshot.Refused(err) {
		return n.copyTrees(ctx, so)
	}
	return err
}

func makeDir(path string, perm os.FileMode) error {
	if err := os.Mkdir(path, perm); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.Chmod(path, perm)
}

// rootMode is the mode of / in what runs, whatever the layers say, as in containerd's snapshots: an archive of a root that
// was made in a private folder says 0700, and none but root could live there.
const rootMode = 0o755

// newTop makes an upper folder; the mounted root has its mode, and its owner, who is the chain's.
func newTop(upper, lower string) error {
	var st unix.Stat_t
	if err := unix.Stat(lower, &st); err != nil {
		return err
	}
	err := os.Mkdir(upper, 0o700)
	if errors.Is(err, os.ErrExist) {
		return nil // of a container that starts again
	}
	if err == nil && userns.Here() != userns.Single {
		err = os.Lchown(upper, int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = os.Chmod(upper, rootMode)
	}
	return err
}

// Root is the mount; it belongs to the snapshot.
func (n *Snapshot) Root() rootfs.Mount { return n.mount }

// Trees are the folders of the chain's layers, from the top down.
func (n *Snapshot) Trees() []string { return n.trees }

// Upper is the folder that takes what is written; empty when nothing can be.
func (n *Snapshot) Upper() string { return n.mount.Upper }

// Chain is what lies below the top.
func (n *Snapshot) Chain() Chain { return n.chain }

// View shows the chain without its top.
func (n *Snapshot) View(ctx context.Context) (v *diff.View, err error) {
	if n.view == nil {
		n.view, err = n.s.View(ctx, n.chain)
	}
	return n.view, err
}

// Commit makes a layer of what was written; nobody writes any more. The layer is
// durable once PutImage names it; a top with no change is the empty layer. A top
// that lies in the store becomes the layer's tree, and then the snapshot is used
// up: Close is what remains.
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
	if err := n.unmount(); err != nil {
		return LayerInfo{}, err
	}
	// Without root there is no right to trusted attributes, with a single id one owner on disk.
	o.UserXattr, o.SingleID = userns.Here() != userns.Root, userns.Here() == userns.Single
	if n.own && !n.copied {
		info, err := n.adopt(ctx, o)
		if !errors.Is(err, errDependent) {
			return info, err
		}
	}
	w, err := n.s.CreateLayer(LayerOptions{})
	if err != nil {
		return LayerInfo{}, err
	}
	defer w.Close()
	index, err := n.ReadTop(ctx, w, o)
	if err != nil {
		return LayerInfo{}, err
	}
	w.o.SelfContained = index.SelfContained
	w.o.Index = func() *diff.Index { return index }
	return w.commit(ctx)
}

// unmount gives up our own descriptor of the mount.
func (n *Snapshot) unmount() error {
	err := n.mount.Close()
	n.mount.Detached = nil
	return err
}

// Close clears away what belongs to the snapshot, unless the caller gave the
// folder.
func (n *Snapshot) Close() error {
	if err := n.unmount(); err != nil {
		return fmt.Errorf("close snapshot: %w", err)
	}
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
	if n.copied {
		o.Whole = n.stamps
	}
	return diff.PackUpper(ctx, n.mount.Upper, below, w, o)
}
