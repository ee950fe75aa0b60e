package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/transfer"
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
func (c *Client) Fetch(ctx context.Context, store *layers.Store, r *Remote) (*layers.Image, error) {
	lease, err := store.Lease(ctx, "pull "+r.Name.Familiar())
	if err != nil {
		return nil, err
	}
	img, err := c.fetch(ctx, store, lease, r, layers.IngestOptions{})
	return img, errors.Join(err, lease.Close())
}

// fetch brings each of the image's layers once, several at a time.
func (c *Client) fetch(ctx context.Context, store *layers.Store, lease *layers.Lease, r *Remote, o layers.IngestOptions) (*layers.Image, error) {
	once, err := eachOnce(r.Manifest.Layers)
	if err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.o.Jobs)
	for _, i := range once {
		d := r.Manifest.Layers[i]
		c.event(Event{ID: string(d.Digest), Action: "waiting", Total: d.Size})
		g.Go(func() error {
			if err := lease.Hold(d.Digest, r.Chain[i]); err != nil {
				return err
			}
			return r.session.fetchLayer(gctx, store, d, r.Chain[i], o)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return store.PutImage(ctx, r.Config, r.Chain, layers.PutImageOptions{Source: r.Name.String(), Manifest: &r.Desc, RawManifest: r.Raw})
}

// eachOnce tells where each layer stands first.
func eachOnce(list []ocispec.Descriptor) (first []int, err error) {
	sizes := map[digest.Digest]int64{}
	for i, d := range list {
		switch size, again := sizes[d.Digest]; {
		case !again:
			sizes[d.Digest] = d.Size
			first = append(first, i)
		case size != d.Size:
			return nil, fmt.Errorf("the manifest gives layer %s two sizes", d.Digest)
		}
	}
	return first, nil
}

// fetchLayer brings one layer into the store, unless it is there.
func (s *session) fetchLayer(ctx context.Context, store *layers.Store, d ocispec.Descriptor, diffID digest.Digest, o layers.IngestOptions) error {
	if _, err := store.StatBlob(d.Digest); err == nil {
		s.c.event(Event{ID: string(d.Digest), Action: "exists", Current: d.Size, Total: d.Size})
		return store.IngestStored(ctx, d, diffID, o)
	}
	if len(d.URLs) > 0 && isForeign(d.MediaType) {
		return fmt.Errorf("layer %s lies at %q and not in the registry, and hod follows no such addresses", d.Digest, transfer.Printable(d.URLs[0]))
	}
	err := s.fetchBlob(ctx, store, d, func(ctx context.Context, p *layers.Partial, r io.Reader) error {
		_, err := store.IngestPartial(ctx, p, d, r, diffID, o)
		return err
	})
	if err == nil {
		s.c.event(Event{ID: string(d.Digest), Action: "done", Current: d.Size, Total: d.Size})
		err = store.IngestStored(ctx, d, diffID, o) // costs nothing, unless another process fetched the blob
	}
	return err
}

// busyPause is how often to look whether another process is done.
const busyPause = 100 * time.Millisecond

// use is what becomes of a blob while it comes in: it reads r to its end and
// commits the partial file, or says what is wrong.
type use func(ctx context.Context, p *layers.Partial, r io.Reader) error

// fetchBlob downloads one blob unless the store has it. Where another process
// downloads it already, it waits for that one.
func (s *session) fetchBlob(ctx context.Context, store *layers.Store, d ocispec.Descriptor, use use) error {
	if err := layers.CheckDescriptor(d); err != nil {
		return err
	}
	for {
		if _, err := store.StatBlob(d.Digest); err == nil {
			return nil
		}
		p, err := store.Partial(string(d.Digest))
		if err == nil {
			if err = errors.Join(s.fill(ctx, p, d, use), p.Close()); err != nil {
				return fmt.Errorf("download %s: %w", d.Digest, err)
			}
			return nil
		}
		if !errors.Is(err, layers.ErrBusy) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(busyPause):
		}
	}
}

// fill completes a partial file and uses it. What an earlier run left may be
// wrong, and so may what came now: bytes that are not the blob are followed by
// a download of the whole, first from the host that was asked after the one that was
// asked first.
func (s *session) fill(ctx context.Context, p *layers.Partial, d ocispec.Descriptor, use use) error {
	ways := s.blobWays()
	for try := 1; ; try++ {
		err := s.stream(ctx, p, d, ways, use)
		var mismatch *layers.DigestError
		if !errors.As(err, &mismatch) && !errors.Is(err, transfer.ErrTooLong) {
			return err
		}
		if terr := errors.Join(p.SetState(nil), p.File().Truncate(0)); terr != nil {
			return errors.Join(err, terr)
		}
		if try == max(2, len(ways)) {
			return err
		}
		ways = append(ways[1:], ways[0])
	}
}

// stream downloads what is missing of a partial file while it is used from its
// start on.
func (s *session) stream(ctx context.Context, p *layers.Partial, d ocispec.Descriptor, ways []transfer.Way, use use) error {
	state, err := p.State()
	if err != nil {
		return err
	}
	if err := p.File().Truncate(d.Size); err != nil { // what is longer cannot be the blob's
		return err
	}
	ledger := transfer.NewLedger(p.File(), d.Size, state, p.SetState)
	down := &transfer.Download{
		Ways: ways, Blob: d, File: p.File(), Ledger: ledger, Ranges: s.c.o.Ranges, Slots: s.c.slots,
		Event: func(have int64) {
			s.c.event(Event{ID: string(d.Digest), Action: "download", Current: have, Total: d.Size})
			if have == d.Size {
				s.c.event(Event{ID: string(d.Digest), Action: "unpack", Current: d.Size, Total: d.Size})
			}
		},
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return down.Run(gctx) })
	g.Go(func() error { return use(gctx, p, ledger.Follow(gctx)) })
	return g.Wait()
}

// keepBlob is the use of a blob that is only kept.
func keepBlob(d ocispec.Descriptor) use {
	return func(ctx context.Context, p *layers.Partial, r io.Reader) error {
		if _, err := io.Copy(io.Discard, r); err != nil {
			return err
		}
		return p.Commit(ctx, d, false)
	}
}

// isForeign tells of layers that are not in the registry.
func isForeign(mediaType string) bool {
	switch mediaType {
	case "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd":
		return true
	}
	return false
}
