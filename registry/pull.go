package registry

import (
	"context"
	"fmt"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// PullOptions say what of an image is pulled.
type PullOptions struct {
	Platform *ocispec.Platform // nil is the host's
}

// Pull fetches an image into the store and tags it with its name. The store has
// the image whole, or not at all; what was received before a failure is used by
// the next pull. It gives back what the name names now.
func (c *Client) Pull(ctx context.Context, store *layers.Store, ref string, o PullOptions) (*layers.Image, ocispec.Descriptor, error) {
	r, err := c.Resolve(ctx, ref, o.Platform)
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	img, err := c.Fetch(ctx, store, r)
	if err != nil {
		return nil, ocispec.Descriptor{}, fmt.Errorf("pull %s: %w", r.Name.Familiar(), err)
	}
	target := r.Desc
	if r.Index != nil {
		target = *r.Index
		if err := store.PutManifest(ctx, target, r.RawIndex); err != nil {
			return nil, target, err
		}
	}
	return img, target, store.Tag(ctx, r.Name.String(), target)
}

// Fetch brings a resolved image's layers and config into the store, without a
// name. A lease keeps what came from collection until the image holds it.
func (c *Client) Fetch(ctx context.Context, store *layers.Store, r *Remote) (img *layers.Image, err error) {
	lease, err := store.Lease(ctx, "pull "+r.Name.Familiar())
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := lease.Close(); err == nil {
			err = cerr
		}
	}()
	if err := c.fetchBlobs(ctx, store, lease, r); err != nil {
		return nil, err
	}
	for i, d := range r.Manifest.Layers {
		c.event(Event{ID: string(d.Digest), Action: "unpack", Current: d.Size, Total: d.Size})
		if err := store.IngestStored(ctx, d, r.Chain[i], layers.IngestOptions{}); err != nil {
			return nil, fmt.Errorf("layer %s: %w", d.Digest, err)
		}
		if err := lease.Hold(d.Digest, r.Chain[i]); err != nil {
			return nil, err
		}
		c.event(Event{ID: string(d.Digest), Action: "done", Current: d.Size, Total: d.Size})
	}
	return store.PutImage(ctx, r.Config, r.Chain, layers.PutImageOptions{Source: r.Name.String(), Manifest: &r.Desc, RawManifest: r.Raw})
}

// fetchBlobs downloads each of the image's layers once, several at a time.
func (c *Client) fetchBlobs(ctx context.Context, store *layers.Store, lease *layers.Lease, r *Remote) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.o.Jobs)
	seen := map[digest.Digest]int64{}
	for _, d := range r.Manifest.Layers {
		if size, ok := seen[d.Digest]; ok {
			if size != d.Size {
				return fmt.Errorf("the manifest gives layer %s two sizes", d.Digest)
			}
			continue
		}
		seen[d.Digest] = d.Size
		g.Go(func() error {
			if err := lease.Hold(d.Digest); err != nil {
				return err
			}
			if err := r.session.fetchBlob(gctx, store, d); err != nil {
				return err
			}
			return lease.Hold(d.Digest)
		})
	}
	return g.Wait()
}
