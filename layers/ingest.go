package layers

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/hodbuild/hod/layers/compress"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// IngestOptions of IngestBlob.
type IngestOptions struct {
	NoTree bool  // keep the blob and its index; the tree is made when it is needed
	Below  Chain // if given: the layers below, which are there; a layer that needs them gets its tree now
}

// IngestBlob takes a layer from elsewhere as it streams in: it verifies the
// compressed bytes against desc, decompresses them, verifies the tar against
// wantDiffID (unless that is empty) and unpacks it, all in one pass. Nothing is
// visible before both checks hold. A layer that is there already costs nothing
// and r is not read.
func (s *Store) IngestBlob(ctx context.Context, desc ocispec.Descriptor, r io.Reader, wantDiffID digest.Digest, o IngestOptions) (LayerInfo, error) {
	if err := CheckDescriptor(desc); err != nil {
		return LayerInfo{}, fmt.Errorf("ingest layer: %w", err)
	}
	if info, ok := s.ingested(desc, wantDiffID); ok {
		return info, nil
	}
	blob, err := s.CreateBlob(BlobOptions{Expect: desc})
	if err != nil {
		return LayerInfo{}, fmt.Errorf("ingest layer %s: %w", desc.Digest, err)
	}
	defer blob.Close()
	return s.ingestInto(ctx, blob, desc, r, wantDiffID, o)
}

// ingestInto is IngestBlob whose compressed bytes go to a sink.
func (s *Store) ingestInto(ctx context.Context, blob blobSink, desc ocispec.Descriptor, r io.Reader, want digest.Digest, o IngestOptions) (LayerInfo, error) {
	info, err := s.ingest(ctx, blob, desc, r, want, o)
	if err != nil {
		return LayerInfo{}, fmt.Errorf("ingest layer %s: %w", desc.Digest, err)
	}
	if o.NoTree || info.SelfContained || len(o.Below) == 0 {
		return info, nil
	}
	return info, s.EnsureTree(ctx, append(slices.Clone(o.Below), info.DiffID), len(o.Below))
}

// blobSink takes compressed bytes as they pass and publishes them when they are
// what was promised.
type blobSink interface {
	io.Writer
	Commit(ctx context.Context) (ocispec.Descriptor, error)
}

// IngestStored is IngestBlob of a blob that is in the store.
func (s *Store) IngestStored(ctx context.Context, desc ocispec.Descriptor, wantDiffID digest.Digest, o IngestOptions) error {
	b, err := s.OpenBlob(desc.Digest)
	if err != nil {
		return err
	}
	defer b.Close()
	_, err = s.IngestBlob(ctx, desc, b, wantDiffID, o)
	return err
}

// ingested tells whether a layer is known to be that blob, and the blob is here.
func (s *Store) ingested(desc ocispec.Descriptor, want digest.Digest) (LayerInfo, bool) {
	if want == "" {
		return LayerInfo{}, false
	}
	info, err := s.Layer(want)
	if err != nil {
		return info, false
	}
	if size, err := s.StatBlob(desc.Digest); err != nil || size != desc.Size {
		return info, false
	}
	for _, b := range info.Blobs {
		if b.Digest == desc.Digest {
			return info, true
		}
	}
	return info, false
}

func (s *Store) ingest(ctx context.Context, blob blobSink, desc ocispec.Descriptor, r io.Reader, want digest.Digest, o IngestOptions) (LayerInfo, error) {
	in := io.TeeReader(&contextReader{ctx, r}, blob)
	z, alg, err := compress.NewReader(in)
	if err != nil {
		return LayerInfo{}, err
	}
	defer z.Close()
	u, err := s.newUnpacking(!o.NoTree, nil)
	if err != nil {
		return LayerInfo{}, err
	}
	defer u.abort()
	h := digest.Canonical.Hash()
	w, _ := blob.(*BlobWriter)
	asIs := w != nil && alg == compress.None && w.algorithm() == digest.Canonical
	if asIs {
		h = nil // the blob is the tar, and hashed already
	}
	tar := newReadAhead(z, h)
	err = u.unpack(ctx, tar)
	tar.Close()
	if err != nil {
		return LayerInfo{}, err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return LayerInfo{}, err
	}
	if asIs {
		h = w.h
	}
	got := digest.NewDigest(digest.Canonical, h)
	if want != "" && got != want {
		return LayerInfo{}, fmt.Errorf("its tar is not the one that the image names: %w", &DigestError{Want: want, Got: got})
	}
	stored, err := blob.Commit(ctx)
	if err != nil {
		return LayerInfo{}, err
	}
	desc.Digest, desc.Size = stored.Digest, stored.Size
	form := formRecord{Descriptor: plain(desc)}
	if err := u.commit(got, tar.n, form); err != nil {
		return LayerInfo{}, err
	}
	if err := s.addForm(got, form); err != nil { // to the equal layer that was there before
		return LayerInfo{}, err
	}
	return s.Layer(got)
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
