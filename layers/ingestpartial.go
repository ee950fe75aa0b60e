package layers

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// IngestPartial is IngestBlob of a blob that is being written into a partial
// file: r gives the file's bytes from its start as they come in, so the layer is
// verified, decompressed and unpacked while it downloads, and the file itself
// becomes the blob. A *DigestError says that the file's bytes are not the blob,
// whatever else went wrong with them before; the file then stays.
func (s *Store) IngestPartial(ctx context.Context, p *Partial, desc ocispec.Descriptor, r io.Reader, wantDiffID digest.Digest, o IngestOptions) (LayerInfo, error) {
	if err := CheckDescriptor(desc); err != nil {
		return LayerInfo{}, fmt.Errorf("ingest layer: %w", err)
	}
	if err := s.hold(desc.Digest); err != nil {
		return LayerInfo{}, fmt.Errorf("ingest layer %s: %w", desc.Digest, err)
	}
	sink := &partialSink{p: p, desc: desc, out: outward{f: p.f}, h: desc.Digest.Algorithm().Hash()}
	info, err := s.ingestInto(ctx, sink, desc, r, wantDiffID, o)
	if err != nil && !sink.done && ctx.Err() == nil {
		err = sink.blame(ctx, r, err)
	}
	if err != nil {
		return info, err
	}
	return info, p.Remove()
}

// partialSink hashes bytes that are in the partial file already.
type partialSink struct {
	p    *Partial
	desc ocispec.Descriptor
	out  outward
	h    hash.Hash
	n    int64
	done bool
}

func (w *partialSink) Write(b []byte) (int, error) {
	w.h.Write(b)
	w.n += int64(len(b))
	w.out.grow(len(b))
	return len(b), nil
}

func (w *partialSink) check() error {
	if w.n != w.desc.Size {
		return fmt.Errorf("content has %d bytes, want %d", w.n, w.desc.Size)
	}
	if got := digest.NewDigest(w.desc.Digest.Algorithm(), w.h); got != w.desc.Digest {
		return &DigestError{Want: w.desc.Digest, Got: got}
	}
	return nil
}

// Commit publishes the file without reading it again: its lock is ours.
func (w *partialSink) Commit(ctx context.Context) (ocispec.Descriptor, error) {
	err := errors.Join(ctx.Err(), w.check())
	if err == nil {
		err = w.p.publish(w.desc.Digest, false)
	}
	w.done = err == nil
	if err != nil {
		return w.desc, fmt.Errorf("commit blob %s: %w", w.desc.Digest, err)
	}
	return w.desc, nil
}

// blame reads on to the end after an error: where the bytes turn out not to be
// the blob, that is the cause of what the decompressor or the unpacker said.
func (w *partialSink) blame(ctx context.Context, r io.Reader, err error) error {
	if _, rerr := copyContext(ctx, w, r); rerr != nil {
		return err
	}
	var wrong *DigestError
	if errors.As(w.check(), &wrong) {
		return fmt.Errorf("commit blob %s: %w", w.desc.Digest, wrong)
	}
	return err
}
