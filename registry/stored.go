package registry

import (
	"context"
	"io"
	"os"

	"github.com/hodbuild/hod/layers"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// stored is the content of a blob of the store. Read from its start it is
// verified, so that a damaged blob is found here and not by the registry.
type stored struct {
	store *layers.Store
	desc  ocispec.Descriptor
}

func (c stored) Open(_ context.Context, off int64) (io.ReadCloser, error) {
	b, err := c.store.OpenBlob(c.desc.Digest)
	if err != nil || off == 0 {
		if err != nil {
			return nil, err
		}
		return b.Verified(), nil
	}
	if _, err := b.Seek(off, io.SeekStart); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// File opens the blob to be sent by the kernel; Check verifies it meanwhile.
func (c stored) File() (*os.File, error) {
	b, err := c.store.OpenBlob(c.desc.Digest)
	if err != nil {
		return nil, err
	}
	return b.File(), nil
}

// Check reads the blob and verifies it.
func (c stored) Check(ctx context.Context) error {
	b, err := c.store.OpenBlob(c.desc.Digest)
	if err != nil {
		return err
	}
	r := b.Verified()
	defer r.Close()
	buf := make([]byte, 256<<10)
	for err == nil {
		if _, err = r.Read(buf); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err == io.EOF {
		return nil
	}
	return err
}

func (c stored) Whole(context.Context) (ocispec.Descriptor, error) { return c.desc, nil }
