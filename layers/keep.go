package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// keepBlob makes a blob durable: its bytes, then its place on the kept shelf.
func (s *Store) keepBlob(d digest.Digest) error {
	return s.keep("blobs", d, syncFile, nil)
}

// folders are those whose names must be durable before something is acknowledged: each is synced once, for all that
// other commands moved there before.
type folders map[string]bool

func (f folders) sync() error {
	for dir := range f {
		if err := lockfile.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// keep moves an object to the kept shelf after sync made its content durable.
// An object that lies there already was synced by whoever moved it; its name is
// for later to sync, where later is not nil.
func (s *Store) keep(kind string, d digest.Digest, sync func(path string) error, later folders) error {
	path, _, err := s.find(kind, d)
	if err != nil {
		return err
	}
	kept := s.kept(kind, d)
	if path == kept && later != nil {
		later[filepath.Dir(kept)] = true
		return nil
	}
	if path == kept {
		return lockfile.SyncDir(filepath.Dir(kept))
	}
	if err := sync(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) && s.has(kept) {
			return lockfile.SyncDir(filepath.Dir(kept))
		}
		return err
	}
	// Another process may have moved it meanwhile; a failed sync is never tried again.
	if err := s.moveTo(path, kept, false); err != nil && !s.has(kept) {
		return err
	}
	return lockfile.SyncDir(filepath.Dir(kept))
}

func (s *Store) has(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync() // its error says so, with the name
}

// syncFolder makes the files of a flat folder and their names durable.
func syncFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := syncFile(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return lockfile.SyncDir(dir)
}

// keepLayer makes a layer durable in a form that the others can be made from.
func (s *Store) keepLayer(ctx context.Context, d digest.Digest, later folders) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := s.Layer(d)
	if err != nil {
		return err
	}
	sourced := false
	for _, b := range info.Blobs {
		err := s.keep("blobs", b.Digest, syncFile, later)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("keep layer %s: %w", d, err)
		}
		sourced = sourced || err == nil
	}
	if !sourced && !info.HasTar && info.HasTree && info.Packed != "" {
		if err := s.keep("trees", d, syncTree, later); err != nil {
			return fmt.Errorf("keep tree of layer %s: %w", d, err)
		}
		sourced = true
	}
	if !sourced && !info.HasTar {
		return fmt.Errorf("keep layer %s: no form of it is left: %w", d, ErrNotFound)
	}
	if err := s.keep("layers", d, syncFolder, later); err != nil {
		return fmt.Errorf("keep layer %s: %w", d, err)
	}
	return nil
}

// syncFew is how many files are synced one by one: beyond, one call for the whole
// file system is cheaper, whatever else it has to write.
const syncFew = 128

// syncTree makes a tree durable: contents, and the names in all its folders.
func syncTree(path string) error {
	paths, err := syncable(path)
	if err != nil {
		return err
	}
	if len(paths) > syncFew {
		return syncAll(path)
	}
	for i := len(paths) - 1; i >= 0; i-- { // folders after what is in them
		if err := syncFile(paths[i]); err != nil {
			return err
		}
	}
	return nil
}

// syncable lists the files and folders of a tree until they are too many.
func syncable(root string) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() || e.Type().IsRegular() {
			paths = append(paths, path)
		}
		if len(paths) > syncFew {
			return fs.SkipAll
		}
		return nil
	})
	return paths, err
}

func syncAll(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := syncFS(f); err != nil {
		return fmt.Errorf("sync the file system of %q: %w", path, err)
	}
	return nil
}
