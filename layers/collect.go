package layers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
)

// CollectOptions say what may go besides what nobody can reach: leftovers of
// dead processes and earlier boots, expired uploads, and orphans always go.
type CollectOptions struct {
	Dangling bool                 // images without a name that no container uses
	All      bool                 // also images with a name that no container uses
	Cache    bool                 // cache records, and layers that only they keep
	Before   time.Time            // if set: only images and records not used since
	Filter   func(img Image) bool // if set: only images for which it is true
	// KeepBytes caps what the store may take after the collection; zero means no
	// cap. Cache records go first, the longest unused before others, then trees
	// that can be made again. What else images, containers and live processes
	// need never goes; Left tells when that alone is more.
	KeepBytes int64
	// Expiry is how long a server's uploads wait for their next piece; zero means a
	// day.
	Expiry time.Duration
	DryRun bool // change nothing, tell what would go
}

// CollectResult tells what went, or would go.
type CollectResult struct {
	Untagged []string        // names
	Images   []digest.Digest // image IDs
	Objects  []digest.Digest // blobs, layers and trees
	Records  int
	Bytes    int64 // given back on disk
	Left     int64 // what the store takes now; only with a cap
}

// expiry is how long uploads and journals wait for their next piece.
const expiry = 24 * time.Hour

// sweepBatch bounds how long the exclusive lock is held: this many renames.
const sweepBatch = 256

// Collect removes what nothing needs. It runs beside any other process: they
// wait for it no longer than a moment. Two collections take turns.
func (s *Store) Collect(ctx context.Context, o CollectOptions) (CollectResult, error) {
	res, err := s.collect(ctx, o)
	if err != nil {
		return res, fmt.Errorf("collect: %w", err)
	}
	return res, nil
}

func (s *Store) collect(ctx context.Context, o CollectOptions) (CollectResult, error) {
	var res CollectResult
	turn, err := lockfile.Open(s.path("leases", collectorLock))
	if err != nil {
		return res, err
	}
	defer turn.Close()
	if err := turn.Exclusive(ctx); err != nil {
		return res, err
	}
	c := &collection{s: s, o: o, res: &res}
	if err := c.begin(ctx); err != nil {
		return res, err
	}
	if err := c.untag(ctx); err != nil {
		return res, err
	}
	if err := c.run(ctx); err != nil {
		return res, err
	}
	if o.KeepBytes > 0 {
		err = c.shrink(ctx)
	}
	return res, err
}

// collection is one run of Collect.
type collection struct {
	s       *Store
	o       CollectOptions
	res     *CollectResult
	begun   int64           // in seconds since the boot: a claim that was good then is good to the end of the run
	dead    map[string]bool // leases that had ended before marking began
	doomed  map[string]bool // names that this run takes away
	records []cacheFile     // those that stay
	spared  int64           // what the records take that a dry run would drop
}

// begin notes which leases are over. What their owners published is visible to
// the marking that follows; leases that end later still count.
func (c *collection) begin(ctx context.Context) error {
	c.dead, c.doomed, c.begun = map[string]bool{}, map[string]bool{}, bootSeconds()
	return c.s.exclusively(ctx, func() error {
		leases, err := c.s.leases(c.begun)
		for _, l := range leases {
			if !l.live {
				c.dead[l.id] = true
			}
		}
		return err
	})
}

func (s *Store) exclusively(ctx context.Context, fn func() error) error {
	lock, err := lockfile.Open(s.path("lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := lock.Exclusive(ctx); err != nil {
		return err
	}
	return fn()
}

// run drops the records that were asked for, and then what nothing keeps.
func (c *collection) run(ctx context.Context) error {
	if err := c.dropRecords(ctx); err != nil {
		return err
	}
	return c.sweepAll(ctx)
}

// sweepAll marks from all roots, sweeps and deletes.
func (c *collection) sweepAll(ctx context.Context) error {
	m, err := c.mark(ctx)
	if err != nil {
		return err
	}
	found, err := c.s.unmarked(ctx, m)
	if err != nil {
		return err
	}
	if err := c.sweep(ctx, found); err != nil {
		return err
	}
	if err := c.leftovers(ctx); err != nil || c.o.DryRun {
		return err
	}
	n, err := c.s.emptyTrash(ctx)
	c.res.Bytes += n
	return err
}

// mark walks from all roots.
func (c *collection) mark(ctx context.Context) (*marks, error) {
	m := newMarks(c.s)
	err := errors.Join(
		m.referenced(ctx, func(r Reference) bool { return !c.doomed[r.Name] }),
		m.contained(),
		m.linked(ctx),
		m.recorded(c.records),
		c.kept(m),
		c.leased(m),
	)
	return m, err
}

// kept marks the unnamed images that this run does not ask for.
func (c *collection) kept(m *marks) error {
	if !c.o.Dangling && !c.o.All {
		return m.listed()
	}
	if c.o.Before.IsZero() && c.o.Filter == nil {
		return nil
	}
	entries, err := os.ReadDir(c.s.path("images/ids"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		d := digest.NewDigestFromEncoded(digest.Canonical, e.Name())
		if c.asked(d) {
			continue
		}
		if err := m.reach(d, "image "+e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// asked tells whether the options' filters let an image go.
func (c *collection) asked(id digest.Digest) bool {
	rec, err := c.s.readImageRecord(id)
	if err != nil || !c.o.Before.IsZero() && rec.Built.After(c.o.Before) {
		return false
	}
	if c.o.Filter == nil {
		return true
	}
	config, err := c.s.peek(id)
	if err != nil {
		return false
	}
	p, chain, err := parseConfig(config)
	return err == nil && c.o.Filter(Image{ID: id, Config: config, Chain: chain, Platform: p, Built: rec.Built, Manifest: rec.Manifest, Source: rec.Source})
}

// leased marks what live processes hold, and what that needs. It reads the leases when nobody writes to one: a long one is
// written anew now and then, and would be read in part.
func (c *collection) leased(m *marks) error {
	var leases []leaseFile
	err := c.s.exclusively(context.Background(), func() (err error) {
		leases, err = c.s.leases(c.begun)
		return err
	})
	return errors.Join(err, c.heldBy(m, leases))
}

// heldBy marks what some leases hold, but those of the dead.
func (c *collection) heldBy(m *marks, leases []leaseFile) error {
	for _, l := range leases {
		if c.dead[l.id] {
			continue
		}
		for _, d := range l.held {
			if err := m.reach(d, l.what); err != nil {
				return err
			}
		}
	}
	return nil
}

// untag takes the names of images that All asks for.
func (c *collection) untag(ctx context.Context) error {
	if !c.o.All {
		return nil
	}
	used := newMarks(c.s)
	if err := errors.Join(used.contained(), used.linked(ctx), c.leased(used)); err != nil {
		return err
	}
	refs, err := c.s.References(ctx)
	if err != nil {
		return err
	}
	for _, r := range refs {
		if used.by[r.Target.Digest] != nil || !c.mayUntag(r, used) {
			continue
		}
		c.doomed[r.Name] = true
		c.res.Untagged = append(c.res.Untagged, r.Name)
		if c.o.DryRun {
			continue
		}
		if err := c.s.Untag(ctx, r.Name); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// mayUntag looks at every image that a name leads to.
func (c *collection) mayUntag(r Reference, used *marks) bool {
	if !c.o.Before.IsZero() && r.Created.After(c.o.Before) {
		return false
	}
	below := newMarks(c.s)
	if below.reach(r.Target.Digest, r.Name) != nil {
		return false
	}
	for d := range below.by {
		if c.s.has(c.s.imagePath(d)) && (used.by[d] != nil || !c.asked(d)) {
			return false
		}
	}
	return true
}

// cacheFile is one cache record on disk.
type cacheFile struct {
	op, key string
	used    time.Time
	refs    []digest.Digest
}

func (r cacheFile) name() string { return r.op[:12] + "/" + r.key[:12] }

// cacheFiles lists the records, the longest unused first.
func (s *Store) cacheFiles(ctx context.Context) ([]cacheFile, error) {
	ops, err := os.ReadDir(s.path("cache"))
	if err != nil {
		return nil, err
	}
	var all []cacheFile
	for _, op := range ops {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		keys, err := os.ReadDir(s.path("cache", op.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, k := range keys {
			if len(op.Name()) != 64 || len(k.Name()) != 64 {
				continue
			}
			r := cacheFile{op: op.Name(), key: k.Name()}
			if rec, err := readCacheRecord(s.path("cache", r.op, r.key)); err == nil {
				r.refs = rec.Refs
			}
			if st, err := k.Info(); err == nil {
				r.used = st.ModTime()
			}
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b cacheFile) int {
		return cmp.Or(a.used.Compare(b.used), strings.Compare(a.op+a.key, b.op+b.key))
	})
	return all, nil
}

// dropRecords removes the records that were asked for and lists the others.
func (c *collection) dropRecords(ctx context.Context) error {
	all, err := c.s.cacheFiles(ctx)
	if err != nil {
		return err
	}
	c.records = c.records[:0]
	for _, r := range all {
		if !c.o.Cache || c.o.KeepBytes > 0 || !c.o.Before.IsZero() && r.used.After(c.o.Before) {
			c.records = append(c.records, r)
			continue
		}
		if err := c.dropRecord(r); err != nil {
			return err
		}
	}
	return nil
}

func (c *collection) dropRecord(r cacheFile) error {
	c.res.Records++
	if c.o.DryRun {
		n, err := diskUsage(c.s.path("cache", r.op, r.key), map[inode]bool{})
		c.spared += n
		return err
	}
	err := os.Remove(c.s.path("cache", r.op, r.key))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_ = os.Remove(c.s.path("cache", r.op)) // when it is empty now
	return nil
}
