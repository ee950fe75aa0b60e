package layers

import (
	"context"
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
	of map[digest.Digest]*spread
}

// spread is one layer that is compressed.
type spread struct {
	mu    sync.Mutex // guards what follows
	opens int
	tar   *os.File // all of it, without a name; the collector of garbage closes it with its view
}

// open reads a file of a layer. The content is verified at its end.
func (c *contents) open(ctx context.Context, d digest.Digest, e diff.Entry) (io.ReadCloser, error) {
	r, err := c.s.openApart(d, e)
	if r == nil && err == nil {
		r, err = c.openSpread(ctx, d, e)
	}
	if err != nil {
		return nil, fmt.Errorf("open %q of layer %s: %w", e.Path, d, err)
	}
	if e.Digest == "" {
		return r, nil
	}
	return &verified{r: r, c: r, h: e.Digest.Algorithm().Hash(), want: e.Digest}, nil
}

// openSpread reads a file of a compressed layer.
func (c *contents) openSpread(ctx context.Context, d digest.Digest, e diff.Entry) (io.ReadCloser, error) {
	c.mu.Lock()
	l := c.of[d]
	if l == nil {
		l = &spread{}
		c.of[d] = l
	}
	c.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opens++; l.opens == 2 {
		l.tar = c.s.spreadTar(ctx, d)
	}
	if l.tar != nil {
		return io.NopCloser(io.NewSectionReader(l.tar, e.Offset, e.Size)), nil
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
