package layers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/opencontainers/go-digest"
)

// contents reads files out of the layers of one view: from a tar at its offset, from the
// shared tree, or from a compressed blob. The last can only be read from its beginning:
// for one file that is done, and a second has the layer spread into a file aside, once,
// or the time of reading all files would grow with their number squared.
type contents struct {
	s  *Store
	mu sync.Mutex // guards of
	of map[digest.Digest]*opened
}

// opened is what files of one layer are read from. The collector of garbage closes it with its view.
type opened struct {
	look      sync.Once
	own, tree *os.File // its tar, its root; nil where there is none

	mu    sync.Mutex // guards what follows
	opens int        // of the compressed blob
	tar   *os.File   // all of that, without a name
}

// open reads a file of a layer. The content is verified at its end.
func (c *contents) open(ctx context.Context, d digest.Digest, e diff.Entry) (io.ReadCloser, error) {
	if e.Size == 0 {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	r, err := c.openIn(ctx, d, e)
	if err != nil {
		return nil, fmt.Errorf("open %q of layer %s: %w", e.Path, d, err)
	}
	if e.Digest == (diff.Sum{}) {
		return r, nil
	}
	return &verified{r: r, c: r, h: sha256.New(), want: e.Digest.Digest()}, nil
}

// layer opens what there is of a layer, once.
func (c *contents) layer(d digest.Digest) *opened {
	c.mu.Lock()
	l := c.of[d]
	if l == nil {
		l = &opened{}
		c.of[d] = l
	}
	c.mu.Unlock()
	l.look.Do(func() {
		l.own, _ = c.s.openOwnTar(d) // else it is read in another form
		l.tree, _ = c.s.openTree(d)
	})
	return l
}

func (c *contents) openIn(ctx context.Context, d digest.Digest, e diff.Entry) (io.ReadCloser, error) {
	l := c.layer(d)
	if l.own != nil && e.Offset > 0 {
		return section(l.own, e), nil
	}
	if l.tree != nil {
		if r, err := openBeneath(l.tree, e.Path); err == nil {
			return r, nil
		}
	}
	if e.Offset == 0 {
		return nil, fmt.Errorf("its content is in no form that can be read alone: %w", ErrNotFound)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opens++; l.opens == 2 {
		l.tar = c.s.spreadTar(ctx, d)
	}
	if l.tar != nil {
		return section(l.tar, e), nil
	}
	r, err := c.s.OpenTar(ctx, d)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, r, e.Offset); err != nil {
		r.Close()
		return nil, err
	}
	return &stacked{io.LimitReader(r, e.Size), []io.Closer{r}}, nil
}

// spreadTar writes a layer, verified, into a file aside. It is nil where that cannot be
// done, on a full disk or in a store that is only read: the layer is read from its
// beginning then, and what is wrong with it is told there.
func (s *Store) spreadTar(ctx context.Context, d digest.Digest) *os.File {
	if s.o.ReadOnly {
		return nil
	}
	r, err := s.OpenTar(ctx, d)
	if err != nil {
		return nil
	}
	defer r.Close()
	f, err := s.Aside()
	if err != nil {
		return nil
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return nil
	}
	return f
}

// section reads an entry's content in its layer's tar.
func section(tar *os.File, e diff.Entry) io.ReadCloser {
	return io.NopCloser(io.NewSectionReader(tar, e.Offset, e.Size))
}
