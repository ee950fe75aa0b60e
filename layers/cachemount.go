package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
)

// Sharing says how several steps use one cache mount at once.
type Sharing string

// The ways of BuildKit: at once in one folder, each in a folder of its own, or
// one after the other.
const (
	Shared  Sharing = "shared"
	Private Sharing = "private"
	Locked  Sharing = "locked"
)

// CacheMount gives the folder of a cache mount and keeps it from being removed
// until release is called. It waits for a locked one; a private one that is in
// use gives another folder. What the folder is made with is the caller's.
func (s *Store) CacheMount(ctx context.Context, id string, sharing Sharing) (dir string, release func(), err error) {
	base := s.path("mounts", digest.Canonical.FromString(id).Encoded())
	for n := 0; ; n++ {
		path := base
		if n > 0 {
			path = fmt.Sprintf("%s.%d", base, n)
		}
		lock, err := s.openCacheMount(ctx, path, id, sharing)
		if errors.Is(err, lockfile.ErrHeld) && sharing == Private {
			continue
		}
		if err != nil {
			return "", nil, fmt.Errorf("open cache mount %q: %w", id, err)
		}
		return filepath.Join(path, "data"), func() { lock.Close() }, nil
	}
}

func (s *Store) openCacheMount(ctx context.Context, path, id string, sharing Sharing) (*lockfile.Lock, error) {
	for {
		if err := os.MkdirAll(filepath.Join(path, "data"), 0o700); err != nil {
			return nil, err
		}
		lock, err := lockfile.Open(filepath.Join(path, "lock"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed in between
		}
		if err != nil {
			return nil, err
		}
		switch sharing {
		case Private:
			err = lock.TryExclusive()
		case Locked:
			err = lock.Exclusive(ctx)
		default:
			err = lock.Shared(ctx)
		}
		if err == nil && s.sameFile(lock, filepath.Join(path, "lock")) {
			return lock, s.nameCacheMount(path, id)
		}
		lock.Close()
		if err != nil {
			return nil, err
		}
	}
}

// sameFile tells whether the locked file still has its name: RemoveCacheMount
// may have moved the folder away while we waited.
func (s *Store) sameFile(lock *lockfile.Lock, path string) bool {
	a, aerr := lock.File().Stat()
	b, berr := os.Stat(path)
	return aerr == nil && berr == nil && os.SameFile(a, b)
}

func (s *Store) nameCacheMount(path, id string) error {
	name := filepath.Join(path, "id")
	if s.has(name) {
		return nil
	}
	return s.writeRecord(name, []byte(id), false)
}

// CacheMounts lists the IDs of the cache mounts, sorted.
func (s *Store) CacheMounts() ([]string, error) {
	entries, err := os.ReadDir(s.path("mounts"))
	if err != nil {
		return nil, fmt.Errorf("list cache mounts: %w", err)
	}
	var ids []string
	for _, e := range entries {
		id, err := readRecord(s.path("mounts", e.Name(), "id"))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list cache mounts: %w", err)
		}
		ids = append(ids, string(id))
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// RemoveCacheMount removes a cache mount and its private folders. ErrBusy says
// that a step uses one of them, which then stays.
func (s *Store) RemoveCacheMount(id string) error {
	base := s.path("mounts", digest.Canonical.FromString(id).Encoded())
	paths, err := filepath.Glob(base + "*")
	for _, path := range paths {
		err = errors.Join(err, s.removeCacheMount(path))
	}
	if err != nil {
		return fmt.Errorf("remove cache mount %q: %w", id, err)
	}
	return nil
}

func (s *Store) removeCacheMount(path string) error {
	lock, err := lockfile.Open(filepath.Join(path, "lock"))
	if err != nil {
		return ignoreMissing(err)
	}
	defer lock.Close()
	if err := lock.TryExclusive(); errors.Is(err, lockfile.ErrHeld) {
		return ErrBusy
	} else if err != nil {
		return err
	}
	return s.throw(path)
}
