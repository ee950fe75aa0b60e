package layers

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/hodbuild/hod/layers/compress"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// IngestStream takes a layer whose compressed digest nobody told, in one pass over
// r. wantDiffID may be empty. A tar in a compression that layers do not have (bzip2,
// xz) is kept as a plain tar.
func (s *Store) IngestStream(ctx context.Context, r io.Reader, wantDiffID digest.Digest) (LayerInfo, error) {
	blob, err := s.CreateBlob(BlobOptions{})
	if err != nil {
		return LayerInfo{}, fmt.Errorf("ingest layer: %w", err)
	}
	defer blob.Close()
	in, mediaType, err := asLayer(&contextReader{ctx, r})
	if err != nil {
		return LayerInfo{}, fmt.Errorf("ingest layer: %w", err)
	}
	defer in.Close()
	info, err := s.ingest(ctx, blob, ocispec.Descriptor{MediaType: mediaType}, in, wantDiffID, IngestOptions{})
	if err != nil {
		return LayerInfo{}, fmt.Errorf("ingest layer: %w", err)
	}
	return info, nil
}

// asLayer tells the media type of a layer from how it begins.
func asLayer(r io.Reader) (io.ReadCloser, string, error) {
	in := bufio.NewReaderSize(r, 256<<10)
	head, err := in.Peek(6)
	if err != nil && err != io.EOF {
		return nil, "", err
	}
	alg := compress.Detect(head)
	if alg == compress.Bzip2 || alg == compress.Xz {
		z, _, err := compress.NewReader(in)
		return z, ocispec.MediaTypeImageLayer, err
	}
	mediaType, err := compress.Spec{Algorithm: alg}.MediaType(false)
	return io.NopCloser(in), mediaType, err
}
