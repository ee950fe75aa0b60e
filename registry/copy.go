package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/transfer"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// CopyOptions say what of an image is copied.
type CopyOptions struct {
	// Platforms are taken from an index: one alone becomes the image itself, several
	// an index of them. None is everything.
	Platforms []ocispec.Platform
	// NoReferrers leaves out signatures, attestations and what else refers to a copied
	// manifest.
	NoReferrers bool
}

// origin is where a copy comes from.
type origin interface {
	// root is what the name means.
	root(ctx context.Context) (ocispec.Descriptor, error)
	// document reads a manifest, which the caller verifies.
	document(ctx context.Context, d ocispec.Descriptor) ([]byte, error)
	content(d ocispec.Descriptor) transfer.Content
	// referrers lists the manifests whose subject is a digest, with the tag that each
	// has for it, if it has one.
	referrers(ctx context.Context, d digest.Digest) ([]tagged, error)
}

// destination is where a copy goes to.
type destination interface {
	// has tells that a manifest is there with all that it names; where named asks so,
	// that it is what the destination's name means already.
	has(ctx context.Context, d ocispec.Descriptor, named bool) (bool, error)
	blob(ctx context.Context, d ocispec.Descriptor, c transfer.Content) error
	// manifest stores a manifest whose parts are there, under a tag if it has one.
	manifest(ctx context.Context, d tagged, raw []byte, m *layers.Manifest) error
	// name makes the manifest what the destination's name means. It comes last.
	name(ctx context.Context, d ocispec.Descriptor, raw []byte, m *layers.Manifest) error
}

// tagged is a manifest that may have a tag of its own.
type tagged struct {
	ocispec.Descriptor
	tag string
}

// maxCopied bounds the manifests of one copy, and maxDeep how deep they lie.
const maxCopied, maxDeep = 10000, 8

// copying is one copy.
type copying struct {
	c    *Client
	from origin
	to   destination
	o    CopyOptions
	done map[digest.Digest]bool
}

// run copies what the origin's name means.
func (c *copying) run(ctx context.Context) (ocispec.Descriptor, error) {
	c.done = map[digest.Digest]bool{}
	root, err := c.from.root(ctx)
	if err != nil {
		return root, err
	}
	raw, m, err := c.read(ctx, root)
	if err != nil {
		return root, err
	}
	if len(c.o.Platforms) > 0 && m.IsIndex() {
		if root, raw, m, err = c.narrow(ctx, root, m); err != nil {
			return root, err
		}
	}
	named, err := c.parts(ctx, root, m, 0)
	if err != nil || named && m.Subject == nil { // one that refers may be missing from the list of its subject
		return root, err
	}
	return root, c.to.name(ctx, root, raw, m)
}

// read reads a manifest and verifies it.
func (c *copying) read(ctx context.Context, d ocispec.Descriptor) ([]byte, *layers.Manifest, error) {
	raw, err := c.from.document(ctx, d)
	if err == nil {
		err = verify(raw, d)
	}
	if err != nil {
		return nil, nil, err
	}
	m, err := layers.ParseManifest(d.MediaType, raw)
	if err != nil {
		return nil, nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	return raw, m, nil
}

// narrow takes the platforms that are asked for out of an index.
func (c *copying) narrow(ctx context.Context, root ocispec.Descriptor, m *layers.Manifest) (ocispec.Descriptor, []byte, *layers.Manifest, error) {
	var picked []ocispec.Descriptor
	for _, p := range c.o.Platforms {
		i := slices.IndexFunc(m.Manifests, func(d ocispec.Descriptor) bool { return d.Platform != nil && layers.Matches(p, *d.Platform) })
		if i < 0 {
			return root, nil, nil, fmt.Errorf("no image for platform %s", layers.FormatPlatform(p))
		}
		picked = append(picked, m.Manifests[i])
	}
	if len(picked) == 1 {
		raw, one, err := c.read(ctx, picked[0])
		return ocispec.Descriptor{MediaType: picked[0].MediaType, Digest: picked[0].Digest, Size: picked[0].Size}, raw, one, err
	}
	for _, d := range m.Manifests { // what BuildKit attests goes with what it is about
		about := func(p ocispec.Descriptor) bool {
			return string(p.Digest) == d.Annotations["vnd.docker.reference.digest"]
		}
		if slices.ContainsFunc(picked, about) && !c.o.NoReferrers {
			picked = append(picked, d)
		}
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: m.MediaType, Manifests: picked, Annotations: m.Annotations}
	raw, err := json.Marshal(index)
	if err != nil {
		return root, nil, nil, err
	}
	small, err := layers.ParseManifest(m.MediaType, raw)
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}, raw, small, err
}

// tree copies a manifest and what belongs to it.
func (c *copying) tree(ctx context.Context, d tagged, depth int) error {
	if c.done[d.Digest] && d.tag == "" {
		return nil
	}
	if err := layers.CheckDescriptor(d.Descriptor); err != nil {
		return err
	}
	raw, m, err := c.read(ctx, d.Descriptor)
	if err != nil {
		return err
	}
	d.MediaType = m.MediaType
	there, err := c.parts(ctx, d.Descriptor, m, depth)
	if err != nil || there && d.tag == "" {
		return err
	}
	return c.to.manifest(ctx, d, raw, m)
}

// parts copies what a manifest names, and what refers to it, and tells whether the
// manifest is there: a destination that has it has its parts. At depth 0 that is whether
// the destination's name means it already.
func (c *copying) parts(ctx context.Context, d ocispec.Descriptor, m *layers.Manifest, depth int) (there bool, err error) {
	if c.done[d.Digest] {
		return false, nil
	}
	if c.done[d.Digest] = true; len(c.done) > maxCopied || depth > maxDeep {
		return false, errors.New("too many manifests refer to each other")
	}
	there, referrers, err := c.ask(ctx, d, m, depth == 0)
	if err != nil {
		return false, err
	}
	for _, child := range m.Manifests {
		if there && c.o.NoReferrers {
			break
		}
		if err := c.tree(ctx, tagged{Descriptor: child}, depth+1); err != nil {
			return false, fmt.Errorf("manifest %s: %w", child.Digest, err)
		}
	}
	for _, r := range referrers {
		if err := c.tree(ctx, r, depth+1); err != nil {
			return false, fmt.Errorf("referrer %s: %w", r.Digest, err)
		}
	}
	return there, nil
}

// ask asks what refers to a manifest, while its blobs are copied unless it is there.
func (c *copying) ask(ctx context.Context, d ocispec.Descriptor, m *layers.Manifest, named bool) (there bool, referrers []tagged, err error) {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if there, err = c.to.has(gctx, d, named); err != nil || there {
			return err
		}
		return c.blobs(gctx, m)
	})
	if !c.o.NoReferrers {
		g.Go(func() (err error) {
			if referrers, err = c.from.referrers(gctx, d.Digest); err != nil {
				return fmt.Errorf("referrers of %s: %w", d.Digest, err)
			}
			return nil
		})
	}
	err = g.Wait() // before the results are looked at
	return there, referrers, err
}

// blobs copies the blobs of a manifest, several at a time.
func (c *copying) blobs(ctx context.Context, m *layers.Manifest) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.c.o.Jobs)
	for _, b := range blobsOf(m) {
		c.c.event(Event{ID: string(b.Digest), Action: "waiting", Total: b.Size})
		g.Go(func() error { return c.to.blob(gctx, b, c.from.content(b)) })
	}
	return g.Wait()
}
