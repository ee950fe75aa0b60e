package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PullPlatforms pulls an image for several platforms under its name; none is all
// that there are, with what BuildKit attests of them. Trees are made only for the
// platform of this machine.
func (c *Client) PullPlatforms(ctx context.Context, store *layers.Store, ref string, platforms []ocispec.Platform) (ocispec.Descriptor, error) {
	return c.pullPlatforms(ctx, store, ref, ref, platforms)
}

func (c *Client) pullPlatforms(ctx context.Context, store *layers.Store, ref, as string, platforms []ocispec.Platform) (desc ocispec.Descriptor, err error) {
	n, err := layers.ParseName(ref)
	if err != nil {
		return desc, err
	}
	s, err := c.dial(n, toPull)
	if err != nil {
		return desc, err
	}
	lease, err := store.Lease(ctx, "pull "+n.Familiar())
	if err != nil {
		return desc, err
	}
	defer func() { err = errors.Join(err, lease.Close()) }()
	p := &pulling{c: c, s: s, store: store, lease: lease, name: n}
	if desc, err = p.run(ctx, platforms); err != nil {
		return desc, fmt.Errorf("pull %s: %w", n.Familiar(), err)
	}
	return desc, store.Tag(ctx, as, desc)
}

// pulling is one pull of several platforms.
type pulling struct {
	c     *Client
	s     *session
	store *layers.Store
	lease *layers.Lease
	name  layers.Name
}

func (p *pulling) run(ctx context.Context, platforms []ocispec.Platform) (ocispec.Descriptor, error) {
	desc, raw, m, err := p.s.read(ctx, refOf(p.name))
	if err != nil {
		return desc, err
	}
	if !m.IsIndex() {
		return desc, p.manifest(ctx, desc, raw, m)
	}
	wanted, err := choose(m.Manifests, platforms)
	if err != nil {
		return desc, err
	}
	seen := map[digest.Digest]bool{}
	for _, d := range wanted {
		if seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		child, raw, cm, err := p.s.read(ctx, string(d.Digest))
		if err == nil && cm.IsIndex() {
			err = errors.New("the index names an index")
		}
		if err == nil {
			err = p.manifest(ctx, child, raw, cm)
		}
		if err != nil {
			return desc, fmt.Errorf("manifest %s: %w", d.Digest, err)
		}
	}
	return desc, p.store.PutManifest(ctx, desc, raw)
}

// choose picks the manifests for some platforms; none is all of them.
func choose(all []ocispec.Descriptor, platforms []ocispec.Platform) ([]ocispec.Descriptor, error) {
	if len(platforms) == 0 {
		return all, nil
	}
	var picked []ocispec.Descriptor
	for _, p := range platforms {
		i := slices.IndexFunc(all, func(d ocispec.Descriptor) bool { return d.Platform != nil && layers.Matches(p, *d.Platform) })
		if i < 0 {
			return nil, fmt.Errorf("no image for platform %s", layers.FormatPlatform(p))
		}
		picked = append(picked, all[i])
	}
	return picked, nil
}

// manifest pulls one image, or what is no image byte for byte.
func (p *pulling) manifest(ctx context.Context, d ocispec.Descriptor, raw []byte, m *layers.Manifest) error {
	isImage := m.Config.MediaType == ocispec.MediaTypeImageConfig || m.Config.MediaType == layers.DockerConfig
	attested := slices.ContainsFunc(m.Layers, func(l ocispec.Descriptor) bool { return l.MediaType == "application/vnd.in-toto+json" })
	if !isImage || attested {
		return p.artifact(ctx, d, raw, m)
	}
	r := &Remote{Name: p.name, Desc: d, Raw: raw, Manifest: m, session: p.s}
	if err := r.readConfig(ctx); err != nil {
		return err
	}
	_, err := p.c.fetch(ctx, p.store, p.lease, r, layers.IngestOptions{NoTree: !r.isHost()})
	return err
}

func (p *pulling) artifact(ctx context.Context, d ocispec.Descriptor, raw []byte, m *layers.Manifest) error {
	for _, b := range blobsOf(m) {
		if err := p.lease.Hold(b.Digest); err != nil {
			return err
		}
		if err := p.s.fetchBlob(ctx, p.store, b, keepBlob(b)); err != nil {
			return err
		}
	}
	return p.store.PutManifest(ctx, d, raw)
}
