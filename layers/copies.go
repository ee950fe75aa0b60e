package layers

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/snapshot"
)

// Where the kernel refuses an overlay, a snapshot is a copy of what the overlay
// would show, and what was written is found by comparing. HOD_SNAPSHOT=copy asks
// for copies everywhere.

// forceCopies is the environment's wish.
func forceCopies() bool { return os.Getenv("HOD_SNAPSHOT") == "copy" }

// copyTrees makes the copy, unless the caller's folder has it from an earlier
// start, and shows it.
func (n *Snapshot) copyTrees(ctx context.Context, so snapshot.Options) error {
	dir := filepath.Join(n.dir, "copy")
	if err := n.makeCopy(ctx, dir, so); err != nil {
		return err
	}
	n.copied = true
	if n.stamps == nil {
		n.stamps = diff.Stamps{}
	}
	var err error
	n.mount, err = snapshot.Folder(dir, so)
	return err
}

func (n *Snapshot) makeCopy(ctx context.Context, dir string, so snapshot.Options) error {
	if n.s.has(dir) {
		return nil
	}
	if err := snapshot.ShowsOwners(n.dir, so); err != nil {
		return err
	}
	part, err := n.s.temp()
	if err != nil {
		return err
	}
	if err = snapshot.Copy(ctx, n.trees, part); err == nil {
		err = os.Chmod(part, rootMode)
	}
	if err != nil {
		return errors.Join(err, n.s.throw(part))
	}
	if n.own { // the comparison is in this process
		if n.stamps, err = diff.StampsOf(part); err != nil {
			return err
		}
	}
	return os.Rename(part, dir)
}
