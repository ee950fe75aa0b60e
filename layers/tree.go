package layers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// A tree lies in a folder of its own, as "fs": the wrapper is ours, whatever
// owner and mode the layer's root has.
const treeRoot = "fs"

// unpacking makes the folder of a layer, and its tree, from one pass over a tar.
type unpacking struct {
	s         *Store
	dir, tree string // under tmp/; tree is empty when none is wanted
	o         diff.ApplyOptions
	index     *diff.Index
}

func (s *Store) newUnpacking(tree bool, below *diff.View) (*unpacking, error) {
	u := &unpacking{s: s, o: diff.ApplyOptions{Below: below, NoTree: !tree}}
	u.o.UserXattr, u.o.SingleID = userns.Here() != userns.Root, userns.Here() == userns.Single
	var err error
	if u.dir, err = s.temp(); err != nil {
		return nil, err
	}
	if err = os.Mkdir(u.dir, 0o700); err != nil || !tree {
		return u, err
	}
	if u.tree, err = s.temp(); err != nil {
		return u, err
	}
	if err = os.Mkdir(u.tree, 0o700); err == nil {
		err = makeDir(filepath.Join(u.tree, treeRoot), 0o755) // whatever the umask: it is / of what runs
	}
	return u, err
}

// unpack reads a tar to its end.
func (u *unpacking) unpack(ctx context.Context, r io.Reader) error {
	var err error
	u.index, err = diff.ApplyPath(ctx, r, filepath.Join(u.tree, treeRoot), u.o)
	return err
}

// commit publishes the layer and, if it is nobody else's business what lies
// below, its tree.
func (u *unpacking) commit(d digest.Digest, size int64, f formRecord) error {
	if u.tree != "" && u.index.SelfContained {
		if err := u.s.publish(u.tree, "trees", treeForm(d, u.index), false); err != nil {
			return err
		}
		u.tree = ""
	}
	o := LayerOptions{SelfContained: u.index.SelfContained, Index: func() *diff.Index { return u.index }, forms: []formRecord{f}}
	if err := u.s.publishLayer(u.dir, d, size, o); err != nil {
		return err
	}
	u.dir = ""
	return nil
}

// abort throws away what was not committed.
func (u *unpacking) abort() {
	for _, path := range []string{u.dir, u.tree} {
		if path != "" {
			_ = u.s.discard(path) // else collection finds it under tmp/
		}
	}
}

// EnsureTree makes the tree of the layer chain[i] on the layers below it.
func (s *Store) EnsureTree(ctx context.Context, chain Chain, i int) error {
	_, err := s.treeOf(ctx, chain, i, chain[:i+1].ID())
	if err != nil {
		return fmt.Errorf("unpack layer %s: %w", chain[i], err)
	}
	return nil
}

// treeOf finds or makes a tree and tells its folder; id is that of the chain up to it.
func (s *Store) treeOf(ctx context.Context, chain Chain, i int, id digest.Digest) (string, error) {
	keys := treeForms(chain[i], treeKey(id))
	if err := s.hold(keys...); err != nil {
		return "", err
	}
	for _, key := range keys {
		if path, _, err := s.find("trees", key); err == nil {
			return filepath.Join(path, treeRoot), nil
		} else if !errors.Is(err, ErrNotFound) {
			return "", err
		}
	}
	key, err := s.makeTree(ctx, chain, i)
	if err != nil {
		return "", err
	}
	path, _, err := s.find("trees", key)
	return filepath.Join(path, treeRoot), err
}

// makeTree unpacks a layer that has no tree, and tells the tree's key.
func (s *Store) makeTree(ctx context.Context, chain Chain, i int) (digest.Digest, error) {
	x, err := s.Index(ctx, chain[i])
	if err != nil {
		return "", err
	}
	var below *diff.View
	key := chain[i]
	if !x.SelfContained {
		key = treeKey(chain[:i+1].ID())
		if below, err = s.View(ctx, chain[:i]); err != nil {
			return "", err
		}
	}
	key = treeForm(key, x)
	r, err := s.OpenTar(ctx, chain[i])
	if err != nil {
		return "", err
	}
	defer r.Close()
	u, err := s.newUnpacking(true, below)
	if err != nil {
		return "", err
	}
	defer u.abort()
	if err := u.unpack(ctx, bufio.NewReaderSize(r, 256<<10)); err != nil {
		return "", err
	}
	if err := s.orderTimes(u, chain[i]); err != nil {
		return "", err
	}
	err = s.publish(u.tree, "trees", key, false)
	if err == nil {
		u.tree = ""
	}
	return key, err
}

// Index gives the names, metadata and file digests of a layer. It is made while
// the layer streams in, or else now, and lies beside the layer.
// It is shared: nobody changes it.
func (s *Store) Index(ctx context.Context, diffID digest.Digest) (*diff.Index, error) {
	if x := s.indexes.get(diffID); x != nil && s.hold(diffID) == nil {
		return x, nil
	}
	x, err := s.readIndex(diffID)
	if errors.Is(err, ErrNotFound) {
		x, err = s.makeIndex(ctx, diffID)
	}
	if err != nil {
		return nil, fmt.Errorf("index of layer %s: %w", diffID, err)
	}
	s.indexes.put(diffID, x)
	return x, nil
}

func (s *Store) readIndex(diffID digest.Digest) (*diff.Index, error) {
	if err := s.hold(diffID); err != nil {
		return nil, err
	}
	l, err := s.openLayer(diffID)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.index()
}

// index reads the layer's index; one that cannot be read is as good as missing.
func (l *layerDir) index() (*diff.Index, error) {
	f, err := l.open("index")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	x, err := diff.ReadIndex(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err) // it is made anew
	}
	return x, nil
}

func (s *Store) makeIndex(ctx context.Context, diffID digest.Digest) (*diff.Index, error) {
	r, err := s.OpenTar(ctx, diffID)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	x, err := diff.Apply(ctx, bufio.NewReaderSize(r, 256<<10), nil, diff.ApplyOptions{NoTree: true})
	if err != nil {
		return nil, err
	}
	if s.o.ReadOnly {
		return x, nil
	}
	var data bytes.Buffer
	if err := x.Encode(&data); err != nil {
		return nil, err
	}
	return x, s.writeLayerFile(diffID, "index", data.Bytes())
}

// View merges the layers of a chain without a mount or a privilege.
func (s *Store) View(ctx context.Context, chain Chain) (*diff.View, error) {
	indexes := make([]*diff.Index, len(chain))
	for i, d := range chain {
		var err error
		if indexes[i], err = s.Index(ctx, d); err != nil {
			return nil, err
		}
	}
	c := &contents{s: s, of: map[digest.Digest]*opened{}}
	v, err := diff.NewView(indexes, func(layer int, e diff.Entry) (io.ReadCloser, error) {
		return c.open(ctx, chain[layer], e)
	})
	if err != nil {
		return nil, fmt.Errorf("view chain %s: %w", chain.ID(), err)
	}
	return v, nil
}

// openOwnTar opens the file of a layer that is kept as a tar.
func (s *Store) openOwnTar(d digest.Digest) (*os.File, error) {
	l, err := s.openLayer(d)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.open("tar")
}

// openTree opens the root of a layer's shared tree, or says ErrNotFound.
func (s *Store) openTree(d digest.Digest) (*os.File, error) {
	for range 3 { // it may change shelves between find and open
		path, _, err := s.find("trees", d)
		if err != nil {
			return nil, err
		}
		f, err := os.OpenFile(filepath.Join(path, treeRoot), rootfs.PathOnly|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return nil, ErrNotFound
}

// openBeneath opens a regular file of a tree and follows no link on the way.
func openBeneath(root *os.File, path string) (io.ReadCloser, error) {
	fd, err := rootfs.OpenBeneath(int(root.Fd()), path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.Join(err, unix.EINVAL)}
	}
	return &treeFile{fd, path}, nil
}

// treeFile is an open file of a tree. Trees have many, and package os makes ten system calls for each.
type treeFile struct {
	fd   int
	path string
}

func (f *treeFile) Read(p []byte) (int, error) {
	n, err := uninterrupted(func() (int, error) { return unix.Read(f.fd, p) })
	switch {
	case err != nil:
		return 0, &fs.PathError{Op: "read", Path: f.path, Err: err}
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

func (f *treeFile) Close() error {
	fd := f.fd
	f.fd = -1
	return unix.Close(fd)
}
