package ops

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Times gives the files that a RUN sees times that tell the order of their changes, in trees and not in layers. In a layer
// all have one time, but make, ninja and cargo ship stale programs when a changed source is not newer than what they made
// of the one before, be that in a layer or in a cache mount. So each path of each store has a last content and the time at
// which a RUN first saw it; a file that has another content than the path had last gets the present time, a file that has
// the same keeps its time, so that what did not change is not made again. A file whose content comes back counts as
// changed. A layer is newer than those below it, and what lies above a command's new output counts as changed too, since it
// may hide a source that the output was made of.
//
// The store keeps a log of these (path, content, time), and of the chains whose trees agree with it. It is cache: without
// it, all files count as changed.
type Times struct {
	path string
	mu   sync.Mutex // guards what follows; taken before the lock between processes
	read int64      // bytes of the log that were read
	last map[uint64]stamp
	done map[uint64]bool // chains whose trees agree with the log
}

// stamp is the content that a path had last, and since when.
type stamp struct{ sum, time uint64 }

const (
	timesRecord = 24
	// timesLimit bounds the log, which then begins anew.
	timesLimit = 32 << 20
	// agreed in place of a content marks a record of a chain.
	agreed = 0
)

// NewTimes opens the log of a store; nothing is read before it is needed.
func NewTimes(s *layers.Store) *Times { return &Times{path: filepath.Join(s.Root(), "filetimes")} }

// Chain is what a RUN sees: the layers, the folders of their trees from the top down, and which layers commands made.
type Chain struct {
	Layers layers.Chain
	Trees  []string
	Made   map[digest.Digest]bool
}

func (c Chain) tree(i int) string { return c.Trees[len(c.Layers)-1-i] }

// Order sets the times of a chain's trees. epoch is the one time that files of this build's layers have; with 1980, those
// are the files that are ordered.
func (t *Times) Order(ctx context.Context, s *layers.Store, c Chain, epoch time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	lock, err := lockfile.Open(t.path + ".lock")
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := lock.Exclusive(ctx); err != nil {
		return err
	}
	defer lock.Unlock()
	if err := t.catchUp(); err != nil {
		return fmt.Errorf("read times of files: %w", err)
	}
	known := t.known(c)
	if known == len(c.Layers) {
		return nil
	}
	o := &ordering{t: t, c: c, epoch: epoch, seen: map[uint64]bool{}}
	for i := len(c.Layers) - 1; i >= known; i-- {
		x, err := s.Index(ctx, c.Layers[i])
		if err != nil {
			return err
		}
		o.take(x, i)
	}
	fresh, err := o.touch(ctx)
	if err != nil {
		return fmt.Errorf("order times of files: %w", err)
	}
	for i := known; i < len(c.Layers); i++ {
		if err := mark(c.tree(i)); err != nil {
			return err
		}
	}
	return t.write(append(fresh, record{hash(c.Layers.ID().String()), stamp{agreed, 0}}))
}

// known is how many layers from the base up have trees that agree with the log.
func (t *Times) known(c Chain) int {
	marked := 0
	for marked < len(c.Layers) {
		if _, err := os.Lstat(markOf(c.tree(marked))); err != nil {
			break
		}
		marked++
	}
	for ; marked > 0; marked-- {
		if t.done[hash(c.Layers[:marked].ID().String())] {
			break
		}
	}
	return marked
}

// markOf is the file that says that a tree was ordered since it was made.
func markOf(tree string) string { return filepath.Join(filepath.Dir(tree), ".fresh") }

func mark(tree string) error {
	f, err := os.OpenFile(markOf(tree), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func hash(s string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, s)
	return h.Sum64() | 1 // never agreed
}

// record is one line of the log.
type record struct {
	key uint64
	stamp
}

// catchUp reads what was added to the log, by whomever.
func (t *Times) catchUp() error {
	f, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		t.read = 0
		t.last, t.done = map[uint64]stamp{}, map[uint64]bool{}
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if t.last == nil || st.Size() < t.read || st.Size() > timesLimit {
		t.read, t.last, t.done = 0, map[uint64]stamp{}, map[uint64]bool{}
	}
	if st.Size() > timesLimit {
		return os.Remove(t.path)
	}
	data := make([]byte, (st.Size()-t.read)/timesRecord*timesRecord)
	if _, err := f.ReadAt(data, t.read); err != nil && len(data) > 0 {
		return err
	}
	t.read += int64(len(data))
	for ; len(data) > 0; data = data[timesRecord:] {
		u := binary.LittleEndian.Uint64
		t.add(record{u(data), stamp{u(data[8:]), u(data[16:])}})
	}
	return nil
}

// add takes a record in. A path that changes puts every chain in doubt.
func (t *Times) add(r record) {
	if r.sum == agreed {
		t.done[r.key] = true
		return
	}
	if old, ok := t.last[r.key]; ok && old.sum != r.sum {
		clear(t.done)
	}
	t.last[r.key] = r.stamp
}

// write appends records, and takes them in.
func (t *Times) write(list []record) error {
	data := make([]byte, 0, len(list)*timesRecord)
	for _, r := range list {
		for _, n := range []uint64{r.key, r.sum, r.time} {
			data = binary.LittleEndian.AppendUint64(data, n)
		}
		t.add(r)
	}
	f, err := os.OpenFile(t.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(data, t.read); err != nil { // over what a killed process left half written
		return fmt.Errorf("write times of files: %w", err)
	}
	t.read += int64(len(data))
	return f.Truncate(t.read)
}

// ordering is the work on the layers of one chain that were not looked at yet.
type ordering struct {
	t     *Times
	c     Chain
	epoch time.Time
	seen  map[uint64]bool // paths of layers above, which hide those below
	set   []setting
	fresh bool // there is a new content
	above int  // what lies above this layer counts as changed, where new is set
	new   bool
}

// setting is the content of a visible file, and the time that it has, 0 where that is new.
type setting struct {
	layer     int
	path      string
	key, sum  uint64
	unchanged uint64
}

// take looks at the files of a layer, from the top layer down.
func (o *ordering) take(x *diff.Index, layer int) {
	for _, e := range x.Entries {
		if !e.IsRegular() || e.Implied || !e.ModTime.Equal(diff.Epoch) && !e.ModTime.Equal(o.epoch) {
			continue
		}
		s := setting{layer: layer, path: e.Path, key: hash(e.Path), sum: hash(string(e.Digest.Digest()))}
		if o.seen[s.key] {
			continue
		}
		o.seen[s.key] = true
		if old, ok := o.t.last[s.key]; ok && old.sum == s.sum {
			s.unchanged = old.time
		} else if o.fresh = true; o.c.Made[o.c.Layers[layer]] {
			o.above, o.new = layer, true
		}
		o.set = append(o.set, s)
	}
}

// touch sets the times, and gives back what is new in the log.
func (o *ordering) touch(ctx context.Context) ([]record, error) {
	now, err := o.tick()
	if err != nil {
		return nil, err
	}
	var fresh []record
	d := &toucher{fd: -1}
	defer d.close()
	for i, s := range o.set {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		at := s.unchanged
		if at == 0 || o.new && s.layer > o.above {
			at = now - uint64(len(o.c.Layers)-s.layer)*1000
			fresh = append(fresh, record{s.key, stamp{s.sum, at}})
		}
		if err := d.touch(o.c.tree(s.layer), s.path, unix.NsecToTimespec(int64(at))); err != nil {
			return nil, fmt.Errorf("%q: %w", s.path, err)
		}
	}
	return fresh, nil
}

// tick takes the present time as the kernel gives it to files: no older than all that was written so far, and no newer
// than what comes. Where a content is new, a tick of the clock passes first, so that it is newer, by more than layers are
// apart.
func (o *ordering) tick() (uint64, error) {
	var first, now unix.Timespec
	if err := unix.ClockGettime(fileClock, &first); err != nil {
		return 0, err
	}
	for now = first; o.fresh && now == first; {
		time.Sleep(time.Millisecond / 2)
		if err := unix.ClockGettime(fileClock, &now); err != nil {
			return 0, err
		}
	}
	return uint64(now.Nano()), nil
}

// toucher sets times of files below a tree, with the folder of the one before kept open. No link is followed: a path
// that the chain below led elsewhere is of another layer.
type toucher struct {
	tree, dir string
	fd        int
}

func (d *toucher) close() {
	if d.fd >= 0 {
		unix.Close(d.fd)
	}
	d.fd = -1
}

func (d *toucher) touch(tree, name string, at unix.Timespec) error {
	dir, base := path.Split(name)
	if d.fd < 0 || dir != d.dir || tree != d.tree {
		if err := d.open(tree, dir); err != nil {
			return err
		}
	}
	if d.fd < 0 {
		return nil
	}
	var st unix.Stat_t
	err := unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT || err == nil && st.Mtim == at {
		return nil
	}
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(d.fd, base, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}

func (d *toucher) open(tree, dir string) error {
	d.close()
	d.tree, d.dir = tree, dir
	root, err := unix.Open(tree, rootfs.PathOnly|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	fd, err := rootfs.OpenBeneath(root, "./"+dir, rootfs.PathOnly|unix.O_DIRECTORY)
	if err == unix.ELOOP || err == unix.ENOENT || err == unix.ENOTDIR {
		return nil
	}
	d.fd = fd
	return err
}
