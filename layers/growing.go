package layers

import (
	"context"
	"io"
	"os"
	"sync"

	"github.com/hodbuild/hod/layers/compress"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Growing is a compressed form of a layer that is being made: it is read from
// any offset while it grows, by any number of readers. The caller closes it.
type Growing struct {
	f    *os.File // of its own, so that readers outlive the publishing rename
	stop context.CancelFunc
	done chan struct{}

	mu   sync.Mutex    // guards what follows
	n    int64         // bytes that are there
	more chan struct{} // closed when n grows or the end is known
	desc ocispec.Descriptor
	err  error
}

// KnownForm tells the descriptor that compressing a layer so gave before, whether
// or not the bytes are still here; ErrNotFound when it was never done.
func (s *Store) KnownForm(diffID digest.Digest, c compress.Spec) (ocispec.Descriptor, error) {
	forms, err := s.forms(diffID)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, f := range forms {
		if f.Compressor == c.Version() {
			return f.Descriptor, nil
		}
	}
	return ocispec.Descriptor{}, ErrNotFound
}

// Compressing begins to compress a layer and gives the form back while it grows.
// When it is whole it is in the store and remembered, as Compressed leaves it.
func (s *Store) Compressing(ctx context.Context, diffID digest.Digest, c compress.Spec) (*Growing, error) {
	w, err := s.CreateBlob(BlobOptions{})
	if err != nil {
		return nil, err
	}
	f, err := os.Open(w.f.Name())
	if err != nil {
		w.Close()
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	g := &Growing{f: f, stop: stop, done: make(chan struct{}), more: make(chan struct{})}
	go func() {
		defer close(g.done)
		desc, err := s.compressInto(ctx, diffID, c, w, growth{w, g})
		g.end(desc, err)
	}()
	return g, nil
}

// compressInto fills a blob through out, commits it and remembers the form.
func (s *Store) compressInto(ctx context.Context, diffID digest.Digest, c compress.Spec, w *BlobWriter, out io.Writer) (ocispec.Descriptor, error) {
	defer w.Close()
	mt, err := c.MediaType(false)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := s.compressTo(ctx, diffID, c, out); err != nil {
		return ocispec.Descriptor{}, err
	}
	desc, err := w.Commit(ctx)
	if err != nil {
		return desc, err
	}
	desc.MediaType = mt
	if err := s.addForm(diffID, formRecord{Descriptor: desc, Compressor: c.Version()}); !s.spared(err) {
		return desc, err
	}
	return desc, nil
}

// compressTo writes the compressed form of a layer.
func (s *Store) compressTo(ctx context.Context, diffID digest.Digest, c compress.Spec, out io.Writer) error {
	r, err := s.OpenTar(ctx, diffID)
	if err != nil {
		return err
	}
	defer r.Close()
	z, err := compress.NewWriter(out, c)
	if err != nil {
		return err
	}
	_, err = copyContext(ctx, z, r)
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	return err
}

// growth tells readers of what was written.
type growth struct {
	w *BlobWriter
	g *Growing
}

func (w growth) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.g.mu.Lock()
	defer w.g.mu.Unlock()
	w.g.n += int64(n)
	close(w.g.more)
	w.g.more = make(chan struct{})
	return n, err
}

// end lets readers finish.
func (g *Growing) end(desc ocispec.Descriptor, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.desc, g.err = desc, err
	if err == nil {
		g.err = io.EOF
	}
	close(g.more)
}

// Wait waits for the end and gives the descriptor.
func (g *Growing) Wait(ctx context.Context) (ocispec.Descriptor, error) {
	select {
	case <-ctx.Done():
		return ocispec.Descriptor{}, ctx.Err()
	case <-g.done:
	}
	if g.err == io.EOF {
		return g.desc, nil
	}
	return g.desc, g.err
}

// From reads from an offset to the end, waiting for what is not there yet.
func (g *Growing) From(ctx context.Context, off int64) io.Reader {
	return &growingReader{ctx, g, off}
}

type growingReader struct {
	ctx context.Context
	g   *Growing
	off int64
}

func (r *growingReader) Read(p []byte) (int, error) {
	for {
		r.g.mu.Lock()
		n, err, more := r.g.n-r.off, r.g.err, r.g.more
		r.g.mu.Unlock()
		if n > 0 {
			k, err := r.g.f.ReadAt(p[:min(int64(len(p)), n)], r.off)
			r.off += int64(k)
			return k, err
		}
		if err != nil {
			return 0, err
		}
		select {
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		case <-more:
		}
	}
}

// Close stops what is still going on and lets go of the file.
func (g *Growing) Close() error {
	g.stop()
	<-g.done
	return g.f.Close()
}
