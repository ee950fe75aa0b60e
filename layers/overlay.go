package layers

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/snapshot"
)

// IDRange maps Count ids from Inside a user namespace to Outside of it.
type IDRange = snapshot.IDRange

// OverlayOptions say how a chain is shown as one tree.
type OverlayOptions struct {
	// Dir is a folder of the caller's that keeps what is written, in upper and
	// work below it; empty: the tree is read-only.
	Dir string
	// UIDs and GIDs map the owners on disk; none: they stay as they are.
	UIDs, GIDs []IDRange
	Volatile   bool
}

// Trees makes sure that every layer of the chain has its tree and returns their
// folders, the uppermost first. They are held until the store is closed.
func (s *Store) Trees(ctx context.Context, chain Chain) ([]string, error) {
	trees := make([]string, len(chain))
	for i := range chain {
		dir, err := s.treeOf(ctx, chain, i)
		if err != nil {
			return nil, fmt.Errorf("unpack layer %s: %w", chain[i], err)
		}
		trees[len(chain)-1-i] = dir
	}
	return trees, nil
}

// Overlay shows a chain as one mount: as root one that is made already, else
// its description. The caller closes it.
func (s *Store) Overlay(ctx context.Context, chain Chain, o OverlayOptions) (rootfs.Mount, error) {
	trees, err := s.Trees(ctx, chain)
	if err != nil {
		return rootfs.Mount{}, err
	}
	so := snapshot.Options{Lower: trees, UIDs: o.UIDs, GIDs: o.GIDs, Volatile: o.Volatile}
	if len(trees) == 0 {
		// An image without layers: an empty folder below the top.
		so.Lower = []string{filepath.Join(o.Dir, "empty")}
	}
	if o.Dir != "" {
		so.Upper, so.Work = filepath.Join(o.Dir, "upper"), filepath.Join(o.Dir, "work")
	}
	return snapshot.Overlay(so)
}
