package layers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Again makes the mount of a writable snapshot once more, after the process that had it ended: what was written is
// there.
func (n *Snapshot) Again(ctx context.Context) error {
	if n.copied {
		return nil
	}
	if err := n.unmount(); err != nil {
		return err
	}
	// The kernel marks a top that was mounted without syncing, and refuses it the second time.
	if err := os.RemoveAll(filepath.Join(n.mount.Work, "work", "incompat")); err != nil {
		return fmt.Errorf("mount chain %s again: %w", n.chain.ID(), err)
	}
	if err := n.overlay(ctx, n.o); err != nil {
		return fmt.Errorf("mount chain %s again: %w", n.chain.ID(), err)
	}
	return nil
}
