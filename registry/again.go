package registry

import (
	"context"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// unchanged tells that a name means in the registry what it means here, and what
// that is; empty where it was not asked. A registry takes a manifest only with all
// that it names, so one question answers for the blobs too. It is asked where the
// manifest is known from a former push, a pull or a load: most pushes of such an
// image are pushes again.
func (c *Client) unchanged(ctx context.Context, store *layers.Store, n layers.Name, o PushOptions) (ocispec.Descriptor, bool, error) {
	p := &pushing{store: store, name: n}
	desc, m, ok := p.foreseen(o)
	if !ok || m.Subject != nil { // one that refers may be missing from the list of its subject
		return ocispec.Descriptor{}, false, nil
	}
	var err error
	if p.session, err = c.dial(n, toPush); err != nil {
		return desc, false, err
	}
	there, err := p.names(ctx, tagOf(n, desc), desc.Digest)
	if there {
		p.tellThere(m, map[digest.Digest]bool{})
	}
	return desc, there, err
}

// foreseen is the manifest that a push would send, where that is known without
// work.
func (p *pushing) foreseen(o PushOptions) (ocispec.Descriptor, *layers.Manifest, bool) {
	var none ocispec.Descriptor
	if o.Platform != nil || o.Form.Force {
		return none, nil, false
	}
	target, err := p.store.ResolveDescriptor(p.name.String())
	if err != nil {
		return none, nil, false
	}
	if _, m, ok := p.complete(target); ok {
		return target, m, true
	}
	img, err := p.store.Resolve(p.name.String(), nil)
	if err != nil || target.Digest != img.ID { // of an index it is told which platform is pushed
		return none, nil, false
	}
	desc, raw, err := p.store.KnownManifest(img, o.Form)
	if err != nil {
		return none, nil, false
	}
	m, err := layers.ParseManifest(desc.MediaType, raw)
	return desc, m, err == nil
}

// tellThere shows the blobs of a manifest as there.
func (p *pushing) tellThere(m *layers.Manifest, seen map[digest.Digest]bool) {
	for _, child := range m.Manifests {
		if seen[child.Digest] {
			continue
		}
		seen[child.Digest] = true
		if _, below, ok := p.complete(child); ok {
			p.tellThere(below, seen)
		}
	}
	for _, b := range blobsOf(m) {
		p.c.event(Event{ID: string(b.Digest), Action: "exists", Current: b.Size, Total: b.Size})
	}
}
