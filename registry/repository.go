package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/transfer"
	"github.com/opencontainers/go-digest"
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
	action := toPull
	if write {
		action = toPush
	}
	s, err := c.dial(n, action)
	if err == nil {
		_, err = s.origin().get(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", n.Familiar(), err)
	}
	return &Repository{s, store, n}, nil
}

// Resolve reads the manifest that the reference names.
func (r *Repository) Resolve(ctx context.Context) ([]byte, error) {
	_, raw, m, err := r.s.read(ctx, refOf(r.name))
	if err == nil {
		r.s.c.note(r.name, m)
	}
	return raw, err
}

// note remembers in which repository the blobs of a manifest are.
func (c *Client) note(n layers.Name, m *layers.Manifest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range blobsOf(m) {
		c.noted[blobIn{n.Registry, b.Digest}] = n.Repository
	}
}

// blobIn is a blob of a registry.
type blobIn struct {
	registry string
	digest   digest.Digest
}

// link makes a blob that was noted in another repository of the registry one of
// this one, and tells whether it did.
func (r *Repository) link(ctx context.Context, l *transfer.Line, d digest.Digest) bool {
	c := r.s.c
	c.mu.Lock()
	from := c.noted[blobIn{r.name.Registry, d}]
	c.mu.Unlock()
	if from == "" || from == r.name.Repository {
		return false
	}
	mounted, err := l.Mount(ctx, d, from)
	return mounted && err == nil // else it is sent
}

// Open reads a blob, or a manifest, of the repository.
func (r *Repository) Open(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	switch d.MediaType {
	case ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, layers.DockerManifest, layers.DockerIndex:
		_, raw, _, err := r.s.read(ctx, string(d.Digest))
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(raw)), nil
	}
	if err := r.s.fetchBlob(ctx, r.store, d, keepBlob(d)); err != nil {
		return nil, err
	}
	return r.store.OpenBlob(d.Digest)
}

// Put sends a blob unless the registry has it, here or where a manifest was read from; open is called only when neither it nor the store does.
func (r *Repository) Put(ctx context.Context, d ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
	l, err := r.s.writer(ctx)
	if err != nil {
		return err
	}
	if has, err := l.Exists(ctx, d.Digest); has || err != nil || r.link(ctx, l, d.Digest) {
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
	p := &pushing{session: r.s, store: r.store, name: r.name}
	return p.upload(ctx, string(d.Digest), &transfer.Upload{Blob: d, Content: stored{r.store, d}})
}

// Publish makes a manifest, whose blobs are there, what the reference names.
func (r *Repository) Publish(ctx context.Context, d ocispec.Descriptor, raw []byte) error {
	return r.s.put(ctx, r.name.Tag, d, raw)
}
