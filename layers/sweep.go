package layers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// candidate is an object that nothing reached.
type candidate struct {
	path  string
	d     digest.Digest
	image bool
}

// unmarked lists what no mark reaches, in the order in which it must go: images,
// layers, trees, blobs. That is the opposite of how they come.
func (s *Store) unmarked(ctx context.Context, m *marks) ([]candidate, error) {
	var found []candidate
	err := s.objects(ctx, func(c candidate) {
		if m.by[c.d] == nil {
			found = append(found, c)
		}
	})
	return found, err
}

// objects visits every image record, layer, tree and blob of both shelves.
func (s *Store) objects(ctx context.Context, visit func(candidate)) error {
	boot, err := s.bootID()
	if err != nil {
		return err
	}
	dirs := []string{s.path("images/ids")}
	for _, kind := range []string{"layers", "trees", "blobs"} {
		dirs = append(dirs, s.path(kind), s.path("boot", boot, kind))
	}
	for i, dir := range dirs {
		if i == 0 {
			err = objectsIn(ctx, dir, "sha256", true, visit)
		} else {
			for alg := range digestSize {
				err = errors.Join(err, objectsIn(ctx, filepath.Join(dir, alg), alg, false, visit))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func objectsIn(ctx context.Context, dir, alg string, image bool, visit func(candidate)) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		d := digest.Digest(alg + ":" + e.Name())
		if validDigest(d) == nil {
			visit(candidate{filepath.Join(dir, e.Name()), d, image})
		}
	}
	return ctx.Err()
}

// sweep renames candidates away, a batch at a time under the exclusive lock,
// leaving those that somebody claimed since they were found.
func (c *collection) sweep(ctx context.Context, found []candidate) error {
	for len(found) > 0 {
		batch := found[:min(sweepBatch, len(found))]
		found = found[len(batch):]
		err := c.s.exclusively(ctx, func() error { return c.sweepBatch(batch) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *collection) sweepBatch(batch []candidate) error {
	leases, err := c.s.leases(c.begun)
	if err != nil {
		return err
	}
	held := map[digest.Digest]bool{}
	for _, l := range leases {
		for _, d := range l.held {
			held[d] = held[d] || !c.dead[l.id]
		}
	}
	for _, o := range batch {
		if held[o.d] {
			continue
		}
		if o.image {
			c.res.Images = append(c.res.Images, o.d)
		} else {
			c.res.Objects = append(c.res.Objects, o.d)
		}
		if c.o.DryRun {
			n, err := diskUsage(o.path, map[inode]bool{})
			if err != nil {
				return err
			}
			c.res.Bytes += n
			continue
		}
		if err := c.s.throw(o.path); err != nil {
			return err
		}
	}
	return nil
}

// leftovers throws away what dead processes and other boots left behind.
func (c *collection) leftovers(ctx context.Context) error {
	if c.o.DryRun {
		return nil
	}
	err := c.s.exclusively(ctx, func() error {
		live := map[string]bool{}
		leases, err := c.s.leases(c.begun)
		for _, l := range leases {
			live[l.id] = !c.dead[l.id]
		}
		if err != nil {
			return err
		}
		if err := c.s.throwEach("tmp", func(name string) bool {
			id, _, _ := strings.Cut(name, ".")
			return !live[id]
		}); err != nil {
			return err
		}
		for id := range c.dead {
			if err := os.Remove(c.s.path("leases", id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		former := c.s.throw(c.s.path("statcache")) // where contexts were remembered formerly: nobody reads it
		return errors.Join(former, c.forgetContexts(), c.s.throwExpired("uploads", cmp.Or(c.o.Expiry, expiry)), c.s.throwExpired("partial", expiry))
	})
	if err != nil {
		return err
	}
	boot, err := c.s.bootID()
	if err != nil {
		return err
	}
	return c.s.throwEach("boot", func(name string) bool { return name != boot })
}

// forgetContexts throws away what builds know of files of this machine and of servers, with the cache.
func (c *collection) forgetContexts() error {
	if !c.o.Cache || c.o.KeepBytes > 0 {
		return nil
	}
	for _, dir := range []string{"contexts", "fetched"} {
		err := c.s.throwEach(dir, func(name string) bool {
			st, err := os.Stat(c.s.path(dir, name))
			return err == nil && (c.o.Before.IsZero() || st.ModTime().Before(c.o.Before))
		})
		if err := ignoreMissing(err); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) throwEach(dir string, which func(name string) bool) error {
	entries, err := os.ReadDir(s.path(dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if which(e.Name()) {
			if err := s.throw(s.path(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// age is how long ago a file was touched. One from a future, since the clock was
// set back, is touched now: it grows old from here on, instead of never.
func (s *Store) age(path string) (time.Duration, error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	now := s.o.Now()
	if st.ModTime().After(now.Add(time.Hour)) && !s.o.ReadOnly {
		return 0, os.Chtimes(path, now, now)
	}
	return now.Sub(st.ModTime()), nil
}

// throwExpired clears away partial files that nobody holds or has touched for
// long. A clock that jumped ahead can only make them expire early; they are only
// unfinished transfers, and one that is open is left alone.
func (s *Store) throwExpired(dir string, after time.Duration) error {
	return s.throwEach(dir, func(name string) bool {
		age, err := s.age(s.path(dir, name))
		if data, derr := s.age(s.path(dir, name, "data")); derr == nil {
			age = min(age, data)
		}
		if err != nil || age < after {
			return false
		}
		lock, err := lockfile.Open(s.path(dir, name, "lock"))
		if err != nil {
			return false
		}
		defer lock.Close()
		return lock.TryExclusive() == nil
	})
}

// emptyTrash deletes what was thrown away and tells how much disk it held.
func (s *Store) emptyTrash(ctx context.Context) (int64, error) {
	var total int64
	for {
		entries, err := os.ReadDir(s.path("trash"))
		if err != nil || len(entries) == 0 {
			return total, err
		}
		for _, e := range entries {
			n, err := s.destroy(ctx, s.path("trash", e.Name()))
			total += n
			if err != nil {
				return total, fmt.Errorf("delete %q: %w", e.Name(), err)
			}
		}
	}
}

// destroy deletes a file or an empty folder; the folders in a folder move up to
// the trash and are deleted in their turn. So no depth is too deep for it.
func (s *Store) destroy(ctx context.Context, path string) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0, ignoreMissing(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if err := os.Remove(path); err != nil {
			return 0, ignoreMissing(err)
		}
		if st.Nlink > 1 {
			return 0, nil
		}
		return st.Blocks * 512, nil
	}
	if st.Mode&0o700 != 0o700 {
		if err := os.Chmod(path, 0o700); err != nil {
			return 0, ignoreMissing(err)
		}
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return 0, ignoreMissing(err)
	}
	var total int64
	for _, e := range entries {
		child := filepath.Join(path, e.Name())
		if e.IsDir() {
			if st, err := e.Info(); err == nil && st.Mode().Perm()&0o700 != 0o700 {
				_ = os.Chmod(child, 0o700) // moving a folder writes its ".."
			}
			if err := s.throw(child); err != nil {
				return total, err
			}
			continue
		}
		n, err := s.destroy(ctx, child)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total + st.Blocks*512, ignoreMissing(os.Remove(path))
}

// ignoreMissing: another collection, of another hod, deletes the same trash.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// shrink drops records, the longest unused first, until the store fits; then
// trees that can be made again.
func (c *collection) shrink(ctx context.Context) error {
	for {
		u, err := c.s.Usage(ctx)
		if err != nil {
			return err
		}
		c.res.Left = u.Total
		if c.o.DryRun {
			c.res.Left -= c.res.Bytes + c.spared
		}
		if c.res.Left <= c.o.KeepBytes {
			return nil
		}
		if len(c.records) == 0 {
			return c.shrinkTrees(ctx)
		}
		for _, r := range c.records[:max(1, len(c.records)/8)] {
			if err := c.dropRecord(r); err != nil {
				return err
			}
		}
		c.records = c.records[max(1, len(c.records)/8):]
		if c.o.DryRun { // what is still there is found, and counted, again
			c.res.Images, c.res.Objects, c.res.Bytes = nil, nil, 0
		}
		if err := c.sweepAll(ctx); err != nil {
			return err
		}
	}
}

// shrinkTrees drops the trees that no container or process uses and that
// another form gives back.
func (c *collection) shrinkTrees(ctx context.Context) error {
	used := newMarks(c.s)
	if err := errors.Join(used.contained(), c.leased(used)); err != nil {
		return err
	}
	var found []candidate
	err := c.s.objects(ctx, func(o candidate) {
		isTree := strings.Contains(strings.TrimPrefix(o.path, c.s.root), "/trees/")
		gone := c.o.DryRun && slices.Contains(c.res.Objects, o.d)
		if isTree && used.by[o.d] == nil && !gone && c.s.remakeable(o.d) {
			found = append(found, o)
		}
	})
	before := c.res.Bytes
	if err == nil {
		err = c.sweep(ctx, found)
	}
	if c.o.DryRun {
		c.res.Left -= c.res.Bytes - before
		return err
	}
	if err == nil {
		var n int64
		n, err = c.s.emptyTrash(ctx)
		c.res.Bytes += n
		c.res.Left -= n
	}
	return err
}

// remakeable tells whether a tree can be made from another form. Only layers
// that our packer made lie as nothing but a tree, and those under their diffID;
// a compressed form of ours does not count, it goes when no manifest needs it.
func (s *Store) remakeable(d digest.Digest) bool {
	l, err := s.openLayer(d)
	if errors.Is(err, ErrNotFound) {
		return true // of a layer from elsewhere, on its chain
	}
	if err != nil {
		return false
	}
	defer l.Close()
	if l.has("tar") {
		return true
	}
	forms, err := l.forms()
	for _, f := range forms {
		if _, _, ferr := s.find("blobs", f.Descriptor.Digest); ferr == nil && err == nil && f.Compressor == "" {
			return true
		}
	}
	return false
}
