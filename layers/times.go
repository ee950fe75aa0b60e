package layers

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// orderTimes gives the files of a tree the time at which their layer was new to
// this store, where the layer itself has the constant. make, ninja and cargo
// order work by times: with the constant a new source would be older than what an
// earlier step or a cache mount made of the old one. Only layers that our packer
// made are treated so, and nothing but mtimes differs from the tar.
// The builder orders the trees that a command stands on once more, path by path
// (ops.Times); what is bound into a command from elsewhere has these times.
func (s *Store) orderTimes(u *unpacking, d digest.Digest) error {
	info, err := s.layer(d)
	if err != nil || info.Packed == "" {
		return err
	}
	l, err := s.openLayer(d)
	if err != nil {
		return err
	}
	defer l.Close()
	f, err := l.open("info")
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	at, err := unix.TimeToTimespec(st.ModTime())
	if err != nil {
		return err
	}
	root, err := os.OpenFile(filepath.Join(u.tree, treeRoot), rootfs.PathOnly|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	for i := len(u.index.Entries) - 1; i >= 0; i-- { // folders after what is in them
		e := u.index.Entries[i]
		if e.Type == diff.TypeWhiteout || e.Type == tar.TypeLink || e.Implied || e.Path == "" || !e.ModTime.Equal(diff.Epoch) {
			continue
		}
		if err := touchBeneath(root, e.Path, at); err != nil {
			return fmt.Errorf("set time of %q: %w", e.Path, err)
		}
	}
	return nil
}

// touchBeneath sets the mtime of a path of a tree; no link is followed. A path
// that the chain below led elsewhere keeps its time.
func touchBeneath(root *os.File, path string, at unix.Timespec) error {
	dir, err := rootfs.OpenBeneath(int(root.Fd()), filepath.Dir(path), rootfs.PathOnly|unix.O_DIRECTORY)
	if err == unix.ELOOP || err == unix.ENOENT || err == unix.ENOTDIR {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	times := []unix.Timespec{at, at}
	err = unix.UtimesNanoAt(dir, filepath.Base(path), times, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return nil
	}
	return err
}
