package layers

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// IngestFile takes a layer whose compressed digest nobody told: open is called
// twice, to hash the bytes and to unpack them. wantDiffID may be empty.
func (s *Store) IngestFile(ctx context.Context, open func() (io.ReadCloser, error), wantDiffID digest.Digest) (LayerInfo, error) {
	desc, err := describe(ctx, open)
	if err != nil {
		return LayerInfo{}, fmt.Errorf("ingest layer: %w", err)
	}
	r, err := open()
	if err != nil {
		return LayerInfo{}, fmt.Errorf("ingest layer: %w", err)
	}
	defer r.Close()
	return s.IngestBlob(ctx, desc, r, wantDiffID, IngestOptions{})
}

// describe makes the descriptor of a layer from its bytes.
func describe(ctx context.Context, open func() (io.ReadCloser, error)) (ocispec.Descriptor, error) {
	r, err := open()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer r.Close()
	in := bufio.NewReaderSize(&contextReader{ctx, r}, 256<<10)
	magic, err := in.Peek(4)
	if err != nil && err != io.EOF {
		return ocispec.Descriptor{}, err
	}
	h := digest.Canonical.Hash()
	n, err := io.Copy(h, in)
	mediaType := ocispec.MediaTypeImageLayer
	switch string(magic) {
	case "\x1f\x8b\x08\x00", "\x1f\x8b\x08\x08", "\x1f\x8b\x08\x04":
		mediaType = ocispec.MediaTypeImageLayerGzip
	case "\x28\xb5\x2f\xfd":
		mediaType = ocispec.MediaTypeImageLayerZstd
	case "BZh9", "\xfd7zX":
		return ocispec.Descriptor{}, fmt.Errorf("a layer is a tar, plain or compressed by gzip or zstd")
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.NewDigest(digest.Canonical, h), Size: n}, err
}
