package layers

import (
	"context"
	"errors"
	"io"

	"github.com/hodbuild/hod/layers/compress"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// full tells of the errors of a disk without space.
func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// spared tells of an error that a command which only looks passes over: what it could not write, it would only have
// remembered. The disk is full, or may only be read.
func (s *Store) spared(err error) bool {
	return s.o.Look && (full(err) || errors.Is(err, unix.EROFS))
}

// unkept is a compressed form that a full or read-only disk could not take. It is made again whenever it is read.
type unkept struct {
	diffID digest.Digest
	spec   compress.Spec
	desc   ocispec.Descriptor
}

// describe compresses a layer only to tell what that gives.
func (s *Store) describe(ctx context.Context, diffID digest.Digest, c compress.Spec) (ocispec.Descriptor, error) {
	if u, ok := s.unkeptForm(func(u unkept) bool { return u.diffID == diffID && u.spec == c }); ok {
		return u.desc, nil
	}
	mt, err := c.MediaType(false)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	sum := &running{Hash: digest.Canonical.Hash()}
	if err := s.compressTo(ctx, diffID, c, sum); err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: mt, Digest: digest.NewDigest(digest.Canonical, sum.Hash), Size: sum.n}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unkept = append(s.unkept, unkept{diffID, c, desc})
	return desc, nil
}

func (s *Store) unkeptForm(is func(unkept) bool) (unkept, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.unkept {
		if is(u) {
			return u, true
		}
	}
	return unkept{}, false
}

// openSaved reads a blob, verified, or makes it again.
func (s *Store) openSaved(ctx context.Context, d digest.Digest) (io.ReadCloser, error) {
	u, ok := s.unkeptForm(func(u unkept) bool { return u.desc.Digest == d })
	if !ok {
		b, err := s.OpenBlob(d)
		if err != nil {
			return nil, err
		}
		return b.Verified(), nil
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(s.compressTo(ctx, u.diffID, u.spec, w)) }()
	return &verified{r: r, c: r, h: d.Algorithm().Hash(), want: d}, nil
}
