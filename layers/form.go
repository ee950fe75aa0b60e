package layers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hodbuild/hod/layers/compress"
	"github.com/hodbuild/hod/layers/diff"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// OpenTar reads the tar of a layer from whichever form there is: the tar, a
// compressed blob, or the tree if our packer made it. The last Read fails with a
// *DigestError instead of io.EOF when the bytes are not the layer's, so who stops
// early has verified nothing.
func (s *Store) OpenTar(ctx context.Context, diffID digest.Digest) (io.ReadCloser, error) {
	r, err := s.openTar(ctx, diffID)
	if err != nil {
		return nil, fmt.Errorf("open tar of layer %s: %w", diffID, err)
	}
	return &verified{r: r, c: r, h: diffID.Algorithm().Hash(), want: diffID}, nil
}

func (s *Store) openTar(ctx context.Context, diffID digest.Digest) (io.ReadCloser, error) {
	if err := errors.Join(s.hold(diffID), ctx.Err()); err != nil {
		return nil, err
	}
	l, err := s.openLayer(diffID)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	f, err := l.open("tar")
	if err == nil || !errors.Is(err, ErrNotFound) {
		return f, err
	}
	forms, err := l.forms()
	if err != nil {
		return nil, err
	}
	for _, form := range forms {
		r, err := s.openForm(form.Descriptor)
		if !errors.Is(err, ErrNotFound) {
			return r, err
		}
	}
	return s.openTreeTar(ctx, l)
}

// openTreeTar packs the tree of a layer that our packer made, as it was packed
// the first time.
func (s *Store) openTreeTar(ctx context.Context, l *layerDir) (io.ReadCloser, error) {
	var rec layerRecord
	if err := l.read("info", &rec); err != nil {
		return nil, err
	}
	if rec.Packed != diff.PackerVersion {
		return nil, ErrNotFound
	}
	index, err := l.index()
	if err != nil {
		return nil, err
	}
	root, err := s.openTree(l.d)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	go func() {
		defer root.Close()
		b := bufio.NewWriterSize(w, 256<<10)
		open := func(e diff.Entry) (io.ReadCloser, error) { return openBeneath(root, e.Path) }
		err := diff.Repack(ctx, index, open, time.Unix(rec.Marks, 0), b)
		w.CloseWithError(errors.Join(err, b.Flush()))
	}()
	return r, nil
}

// openForm decompresses a blob, which is itself verified as it is read.
func (s *Store) openForm(desc ocispec.Descriptor) (io.ReadCloser, error) {
	b, err := s.OpenBlob(desc.Digest)
	if err != nil {
		return nil, err
	}
	v := b.Verified()
	z, _, err := compress.NewReader(v)
	if err != nil {
		v.Close()
		return nil, err
	}
	return &stacked{z, []io.Closer{z, v}}, nil
}

// stacked is a reader whose Close closes what it stands on, top first.
type stacked struct {
	io.Reader
	under []io.Closer
}

func (r *stacked) Close() error {
	var err error
	for _, c := range r.under {
		err = errors.Join(err, c.Close())
	}
	return err
}

// Compressed gives a compressed form of a layer, making it where it is not
// there. Equal specs give equal bytes, so a form that was dropped comes back with
// the digest that it had. The form is remembered, and not durable by itself. On a
// full or read-only disk a store that was opened to look only tells what it would be.
func (s *Store) Compressed(ctx context.Context, diffID digest.Digest, c compress.Spec) (ocispec.Descriptor, error) {
	desc, err := s.compressed(ctx, diffID, c)
	if s.spared(err) {
		desc, err = s.describe(ctx, diffID, c)
	}
	if err != nil {
		return desc, fmt.Errorf("compress layer %s: %w", diffID, err)
	}
	return desc, nil
}

func (s *Store) compressed(ctx context.Context, diffID digest.Digest, c compress.Spec) (ocispec.Descriptor, error) {
	forms, err := s.forms(diffID)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, f := range forms {
		if f.Compressor != c.Version() {
			continue
		}
		if size, err := s.StatBlob(f.Descriptor.Digest); err == nil && size == f.Descriptor.Size {
			return f.Descriptor, nil
		}
	}
	w, err := s.CreateBlob(BlobOptions{})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return s.compressInto(ctx, diffID, c, w, w)
}
