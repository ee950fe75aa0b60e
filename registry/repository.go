package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/hodbuild/hod/layers"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Repository is one reference of a registry, for manifests and blobs that make no image: a build's cache. Blobs go by way
// of the store, so that they are verified and go on where a broken connection left them.
type Repository struct {
	s     *session
	store *layers.Store
	name  layers.Name
}

// Repository opens a reference for reading, or with write for both.
func (c *Client) Repository(ctx context.Context, store *layers.Store, ref string, write bool) (*Repository, error) {
	n, err := layers.ParseName(ref)
	if err != nil {
		return nil, err
	}
	s, err := c.dial(ctx, n, write)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", n.Familiar(), err)
	}
	return &Repository{s, store, n}, nil
}

// Resolve reads the manifest that the reference names.
func (r *Repository) Resolve(ctx context.Context) ([]byte, error) {
	ref := r.name.Tag
	if r.name.Digest != "" {
		ref = string(r.name.Digest)
	}
	_, raw, err := r.s.manifest(ctx, ref)
	return raw, err
}

// Open reads a blob, or a manifest, of the repository.
func (r *Repository) Open(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	switch d.MediaType {
	case ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, layers.DockerManifest, layers.DockerIndex:
		_, raw, err := r.s.manifest(ctx, string(d.Digest))
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(raw)), nil
	}
	if err := r.s.fetchBlob(ctx, r.store, d); err != nil {
		return nil, err
	}
	return r.store.OpenBlob(d.Digest)
}

// Put sends a blob unless the registry has it; open is called only when neither it nor the store does.
func (r *Repository) Put(ctx context.Context, d ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
	has, err := r.s.hasBlob(ctx, d)
	if has || err != nil {
		return err
	}
	if _, err := r.store.StatBlob(d.Digest); err != nil {
		body, err := open()
		if err != nil {
			return err
		}
		defer body.Close()
		if err := r.store.PutBlob(ctx, d, body, false); err != nil {
			return err
		}
	}
	return r.s.pushBlob(ctx, r.store, d)
}

// Publish makes a manifest, whose blobs are there, what the reference names.
func (r *Repository) Publish(ctx context.Context, d ocispec.Descriptor, raw []byte) error {
	return r.s.putManifest(ctx, r.name.Tag, d, raw)
}
