package layers

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Usage is what the store takes on disk, as du counts it: allocated blocks, each
// file once however many names it has.
type Usage struct {
	Total      int64
	Images     KindUsage // reached from images
	Containers KindUsage
	Volumes    KindUsage
	Cache      KindUsage // records, and layers that only they keep
	Other      KindUsage // what nothing keeps, unfinished transfers, bookkeeping
}

// KindUsage is one line of hod df. Which containers and volumes are in use is known
// to the runner: Each has their bytes by the names of their folders, and who knows
// sets Active and Reclaimable.
type KindUsage struct {
	Count, Active      int
	Bytes, Reclaimable int64
	Each               map[string]int64
}

type inode struct{ dev, ino uint64 }

// Usage counts. It walks the whole store and does not cross mounts in it.
func (s *Store) Usage(ctx context.Context) (Usage, error) {
	var u Usage
	seen := map[inode]bool{}
	if err := s.countObjects(ctx, &u, seen); err != nil {
		return u, fmt.Errorf("count disk usage: %w", err)
	}
	for dir, k := range map[string]*KindUsage{"containers": &u.Containers, "volumes": &u.Volumes} {
		if err := s.countEach(dir, k, seen); err != nil {
			return u, fmt.Errorf("count disk usage: %w", err)
		}
	}
	for dir, k := range map[string]*KindUsage{"containers": &u.Containers, "volumes": &u.Volumes, "cache": &u.Cache, "contexts": &u.Cache, "fetched": &u.Cache, "mounts": &u.Cache, "images": &u.Images} {
		n, err := diskUsage(s.path(dir), seen)
		if err != nil {
			return u, fmt.Errorf("count disk usage: %w", err)
		}
		k.Bytes += n
	}
	u.Containers.Count, u.Volumes.Count = s.count("containers/*/roots.json"), len(u.Volumes.Each)
	n, err := diskUsage(s.root, seen)
	if err != nil {
		return u, fmt.Errorf("count disk usage: %w", err)
	}
	u.Other.Bytes += n
	if u.Cache.Count > 0 {
		u.Cache.Reclaimable = u.Cache.Bytes
	}
	for _, k := range []KindUsage{u.Images, u.Containers, u.Volumes, u.Cache, u.Other} {
		u.Total += k.Bytes
	}
	return u, ctx.Err()
}

// countEach counts the folders in a folder one by one.
func (s *Store) countEach(dir string, k *KindUsage, seen map[inode]bool) error {
	entries, err := os.ReadDir(s.path(dir))
	if err != nil {
		return ignoreMissing(err)
	}
	k.Each = map[string]int64{}
	for _, e := range entries {
		n, err := diskUsage(s.path(dir, e.Name()), seen)
		if err != nil {
			return err
		}
		k.Each[e.Name()] = n
		k.Bytes += n
	}
	return nil
}

// count tells how many files a pattern below the root names.
func (s *Store) count(pattern string) int {
	found, _ := filepath.Glob(s.path(pattern)) // the only error is that of a bad pattern
	return len(found)
}

// countObjects gives every object to the first of those that keep it: images
// that containers use, images, cache, nobody.
func (s *Store) countObjects(ctx context.Context, u *Usage, seen map[inode]bool) error {
	active, images, cached := newMarks(s), newMarks(s), newMarks(s)
	records, err := s.cacheFiles(ctx)
	if err != nil {
		return err
	}
	u.Cache.Count = len(records)
	if err := active.contained(); err != nil {
		return err
	}
	for _, mark := range []func() error{images.contained, images.listed, func() error { return images.referenced(ctx, nil) }, func() error { return images.linked(ctx) }} {
		if err := mark(); err != nil {
			return err
		}
	}
	if err := cached.recorded(records); err != nil {
		return err
	}
	var failed error
	err = s.objects(ctx, func(c candidate) {
		n, err := diskUsage(c.path, seen)
		if err != nil {
			failed = err
		}
		switch {
		case images.by[c.d] != nil:
			u.Images.Bytes += n
			if active.by[c.d] == nil {
				u.Images.Reclaimable += n
			}
		case cached.by[c.d] != nil:
			u.Cache.Bytes += n
		default:
			u.Other.Bytes += n
			u.Other.Reclaimable += n
		}
		if c.image {
			u.Images.Count++
			if active.by[c.d] != nil {
				u.Images.Active++
			}
		}
	})
	if err == nil {
		err = failed
	}
	return err
}

// diskUsage adds up the blocks under a path that were not seen before. What
// vanishes meanwhile counts nothing.
func diskUsage(root string, seen map[inode]bool) (int64, error) {
	var total int64
	var dev uint64
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return ignoreMissing(err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return ignoreMissing(err)
		}
		if dev == 0 {
			dev = uint64(st.Dev)
		}
		if uint64(st.Dev) != dev {
			return fs.SkipDir
		}
		if id := (inode{uint64(st.Dev), st.Ino}); !seen[id] {
			seen[id] = true
			total += st.Blocks * 512
		}
		return nil
	})
	return total, err
}
