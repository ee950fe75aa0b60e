package layers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// errDependent says that a top's tree would depend on what lies below it, or on
// the ids that this process has.
var errDependent = errors.New("the top is not self-contained")

// adopt makes the top a layer that is nothing but its tree, by renaming it. The
// tar is made of it when somebody wants it. Before, the top is made equal to what
// unpacking that tar would give, except that the files keep the times that they
// have: the next step must see which is newer.
func (n *Snapshot) adopt(ctx context.Context, o diff.PackOptions) (LayerInfo, error) {
	h := digest.Canonical.Hash()
	behind := newWriteBehind(h)
	index, err := n.ReadTop(ctx, behind, o)
	behind.Close()
	if err != nil {
		return LayerInfo{}, err
	}
	d := digest.NewDigest(digest.Canonical, h)
	if !index.SelfContained || treeForm(d, index) != d {
		return LayerInfo{}, errDependent
	}
	if err := n.s.hold(d); err != nil {
		return LayerInfo{}, err
	}
	if n.s.whole(d) { // there already, in whatever form
		return n.s.layer(d)
	}
	wrapper, err := n.seal(ctx, index, o)
	if err == nil {
		err = n.s.publish(wrapper, "trees", d, false)
	}
	if err != nil {
		return LayerInfo{}, fmt.Errorf("seal tree of layer %s: %w", d, err)
	}
	return n.s.treeLayer(d, index, o)
}

// treeLayer publishes the record of a layer whose tree is there.
func (s *Store) treeLayer(d digest.Digest, index *diff.Index, o diff.PackOptions) (LayerInfo, error) {
	dir, err := s.temp()
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return LayerInfo{}, err
	}
	lo := LayerOptions{Packed: diff.PackerVersion, SelfContained: true, marks: o.MarkTime().Unix()}
	lo.Index = func() *diff.Index { return index }
	if err := s.publishLayer(dir, d, index.Size, lo); err != nil {
		return LayerInfo{}, errors.Join(err, s.throw(dir))
	}
	return s.layer(d)
}

// seal takes the top away and makes it a tree in a folder of its own.
func (n *Snapshot) seal(ctx context.Context, index *diff.Index, o diff.PackOptions) (string, error) {
	wrapper, err := n.s.temp()
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(wrapper, 0o700); err != nil {
		return "", err
	}
	top := filepath.Join(wrapper, treeRoot)
	if err := os.Rename(n.mount.Upper, top); err != nil {
		return "", err
	}
	sealed := sealer{ctx: ctx, index: index, prefix: "trusted.overlay."}
	if o.UserXattr {
		sealed.prefix = "user.overlay."
	}
	return wrapper, sealed.open(top)
}

// sealer takes from a top what its layer does not have: entries that equal the
// chain below, sockets, deletions of nothing, and overlay's own attributes.
type sealer struct {
	ctx    context.Context
	index  *diff.Index
	prefix string
}

func (s *sealer) open(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return s.folder(os.NewFile(uintptr(fd), dir), "", false)
}

// folder seals an open folder and closes it.
func (s *sealer) folder(f *os.File, path string, opaque bool) error {
	defer f.Close()
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if err := s.strip(f, true, opaque); err != nil {
		return err
	}
	entries, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		child := strings.TrimPrefix(path+"/"+e.Name(), "/")
		if err := s.child(f, child, e); err != nil {
			return fmt.Errorf("%q: %w", child, err)
		}
	}
	return nil
}

func (s *sealer) child(parent *os.File, path string, e os.DirEntry) error {
	known, ok := s.index.Lookup(path)
	if !ok {
		return removeChild(parent, e)
	}
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	switch {
	case e.IsDir():
		flags |= unix.O_DIRECTORY
	case !e.Type().IsRegular():
		return nil // has no attributes of overlay's that matter
	}
	fd, err := unix.Openat(int(parent.Fd()), e.Name(), flags, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), path)
	if e.IsDir() {
		return s.folder(f, path, known.Opaque)
	}
	defer f.Close()
	return s.strip(f, false, false)
}

// strip removes overlay's notes to itself. An opaque mark stays where the layer
// has it, and a note of origin stays on folders: without one overlayfs shows the
// whiteouts of a folder that is merged with nothing.
func (s *sealer) strip(f *os.File, folder, opaque bool) error {
	buf := make([]byte, 8<<10)
	n, err := unix.Flistxattr(int(f.Fd()), buf)
	if err == unix.EOPNOTSUPP {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if !strings.HasPrefix(name, s.prefix) || opaque && name == s.prefix+"opaque" || folder && name == s.prefix+"origin" {
			continue
		}
		if err := unix.Fremovexattr(int(f.Fd()), name); err != nil && err != unix.ENODATA {
			return err
		}
	}
	return nil
}

// removeChild removes an entry and what is below it. A folder that the layer
// leaves out holds nothing that the layer has.
func removeChild(parent *os.File, e os.DirEntry) error {
	if !e.IsDir() {
		return unix.Unlinkat(int(parent.Fd()), e.Name(), 0)
	}
	fd, err := unix.Openat(int(parent.Fd()), e.Name(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), e.Name())
	defer f.Close()
	below, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, b := range below {
		if err := removeChild(f, b); err != nil {
			return err
		}
	}
	return unix.Unlinkat(int(parent.Fd()), e.Name(), unix.AT_REMOVEDIR)
}
