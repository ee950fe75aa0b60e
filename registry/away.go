package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/transfer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Origins say where the layers of the image can be had, so that an image that is
// made of them needs none of their bytes. It has none where a layer cannot be
// handed on as it is.
func (r *Remote) Origins() []layers.Origin {
	var list []layers.Origin
	for i, d := range r.Manifest.Layers {
		if isForeign(d.MediaType) {
			return nil
		}
		list = append(list, layers.Origin{Layer: r.Chain[i], Blob: d, From: []string{r.Name.Registry + "/" + r.Name.Repository}})
	}
	return list
}

// Complete brings those layers of an image into the store that are only known to
// be elsewhere. An image that is whole costs nothing.
func (c *Client) Complete(ctx context.Context, store *layers.Store, img *layers.Image) error {
	missing := store.Missing(img)
	if len(missing) == 0 {
		return nil
	}
	lease, err := store.Lease(ctx, "fetch layers of image "+string(img.ID))
	if err != nil {
		return err
	}
	o := layers.IngestOptions{NoTree: !layers.Matches(layers.HostPlatform(), img.Platform)}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.o.Jobs)
	for _, m := range missing {
		c.event(Event{ID: string(m.Blob.Digest), Action: "waiting", Total: m.Blob.Size})
		g.Go(func() error {
			if err := lease.Hold(m.Blob.Digest, m.Layer); err != nil {
				return err
			}
			s, err := c.dialOrigin(m)
			if err == nil {
				err = s.fetchLayer(gctx, store, m.Blob, m.Layer, o)
			}
			if err != nil {
				return notGiven(m, err)
			}
			return nil
		})
	}
	if err = g.Wait(); err == nil {
		_, err = store.PutImage(ctx, img.Config, img.Chain, layers.PutImageOptions{})
	}
	if err != nil {
		err = fmt.Errorf("complete image %s: %w", img.ID, err)
	}
	return errors.Join(err, lease.Close())
}

// notGiven says that a layer's bytes are nowhere.
func notGiven(o layers.Origin, err error) error {
	return fmt.Errorf("layer %s was left in %s, which does not give it now: %w", o.Blob.Digest, strings.Join(o.From, " and "), err)
}

// dialOrigin opens a session that reads from all the repositories that may have a
// layer, in turn.
func (c *Client) dialOrigin(o layers.Origin) (*session, error) {
	all := &session{c: c}
	for _, from := range o.From {
		n, err := layers.ParseName(from)
		if err != nil {
			return nil, err
		}
		s, err := c.dial(n, toPull)
		if err != nil {
			return nil, err
		}
		all.ways = append(all.ways, s.ways...)
	}
	return all, nil
}

// elsewhere are the blobs of images here that are only known to be elsewhere.
type elsewhere map[digest.Digest]layers.Origin

// awayFrom collects them.
func awayFrom(store *layers.Store, images []*layers.Image) elsewhere {
	a := elsewhere{}
	for _, img := range images {
		for _, o := range store.Missing(img) {
			a[o.Blob.Digest] = o
		}
	}
	return a
}

// in tells in which repositories of a registry a blob is, beside the one that a
// name is of.
func (a elsewhere) in(n layers.Name, d digest.Digest) []string {
	var list []string
	for _, from := range a[d].From {
		if m, err := layers.ParseName(from); err == nil && m.Registry == n.Registry && m.Repository != n.Repository {
			list = append(list, m.Repository)
		}
	}
	return list
}

// blob is the upload of a blob: linked from where it was left if that is in the
// same registry, else from the store, or on its way through from another registry.
func (p *pushing) blob(b ocispec.Descriptor) (*transfer.Upload, error) {
	u := &transfer.Upload{Blob: b, From: p.seen[b.Digest], Content: stored{p.store, b}, Slots: p.slots}
	o, isAway := p.away[b.Digest]
	if !isAway {
		return u, nil
	}
	s, err := p.c.dialOrigin(o)
	if err != nil {
		return nil, err
	}
	if from := p.away.in(p.name, b.Digest); len(from) > 0 {
		u.From, u.Sure = from, true
	}
	u.Content = remote{&pushing{session: s}}.content(b)
	return u, nil
}

// remember notes that the repository that was pushed to has what was left
// elsewhere: it may outlive the first.
func (p *pushing) remember(ctx context.Context, local string, o PushOptions) error {
	images, err := p.store.Meant(local, o.Platform)
	if err != nil {
		return err
	}
	repo := p.name.Registry + "/" + p.name.Repository
	for _, img := range images {
		missing := p.store.Missing(img)
		for i := range missing {
			if !slices.Contains(missing[i].From, repo) {
				missing[i].From = append(missing[i].From, repo)
			}
		}
		if len(missing) == 0 {
			continue
		}
		if _, err := p.store.PutImage(ctx, img.Config, img.Chain, layers.PutImageOptions{Origins: missing}); err != nil {
			return err
		}
	}
	return nil
}
