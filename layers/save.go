package layers

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/hodbuild/hod/layers/archive"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Save writes images by name or ID into a sink, each under the name that it was
// asked for. An index goes with all its platforms that are here; p, if set,
// takes one of them. The caller closes the sink.
func (s *Store) Save(ctx context.Context, to *archive.Sink, names []string, p *ocispec.Platform) error {
	for _, name := range names {
		if _, err := s.SaveAs(ctx, to, name, s.savedNames(name), p); err != nil {
			return err
		}
	}
	return nil
}

// SaveAs writes one image under other names, or without any, and tells what was
// written.
func (s *Store) SaveAs(ctx context.Context, to *archive.Sink, name string, as []archive.Name, p *ocispec.Platform) (ocispec.Descriptor, error) {
	target, raw, err := s.saveTarget(ctx, to, name, p)
	if err == nil {
		to.Add(target, as...)
		err = s.saveDocker(ctx, to, target, raw, as, p)
	}
	if err != nil {
		return target, fmt.Errorf("save %q: %w", name, err)
	}
	return target, nil
}

// savedNames is what an image is called in an archive: its name, unless it was asked
// for by the prefix of an ID.
func (s *Store) savedNames(name string) []archive.Name {
	n, err := ParseName(name)
	if err != nil || n.Tag == "" || n.Digest != "" {
		return nil
	}
	if _, err := s.reference(n); err != nil {
		return nil
	}
	return []archive.Name{{Full: n.String(), Ref: n.Familiar()}}
}

// saveDocker lists an image for readers of Docker's archives; raw is its manifest, nil where an index was saved.
func (s *Store) saveDocker(ctx context.Context, to *archive.Sink, target ocispec.Descriptor, raw []byte, as []archive.Name, p *ocispec.Platform) error {
	if raw == nil {
		img, err := s.Resolve(target.Digest.String(), p)
		if errors.Is(err, ErrNotFound) { // of other platforms only: manifest.json cannot say that
			return nil
		}
		if err != nil {
			return err
		}
		if _, raw, err = s.Manifest(ctx, img, ManifestForm{}); err != nil {
			return err
		}
	}
	m, err := ParseManifest("", raw)
	if err != nil {
		return err
	}
	var blobs []digest.Digest
	for _, l := range m.Layers {
		blobs = append(blobs, l.Digest)
	}
	var tags []string
	for _, a := range as {
		if n, err := ParseName(a.Full); err == nil && n.Tag != "" {
			tags = append(tags, n.Familiar())
		}
	}
	to.AddDocker(m.Config.Digest, blobs, tags)
	return nil
}

// saveTarget puts what a name means and gives what to list for it, with the manifest unless that is an index.
func (s *Store) saveTarget(ctx context.Context, to *archive.Sink, name string, p *ocispec.Platform) (ocispec.Descriptor, []byte, error) {
	if target, err := s.ResolveDescriptor(name); err == nil && p == nil {
		if raw, err := s.ReadManifest(target.Digest); err == nil {
			if m, err := ParseManifest("", raw); err == nil && m.IsIndex() {
				return target, nil, s.saveIndex(ctx, to, target, raw, m, 0)
			}
		}
	}
	img, err := s.Resolve(name, p)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	desc, raw, err := s.Manifest(ctx, img, ManifestForm{})
	if err != nil {
		return desc, nil, err
	}
	return desc, raw, s.saveManifest(ctx, to, desc, raw)
}

func (s *Store) saveIndex(ctx context.Context, to *archive.Sink, desc ocispec.Descriptor, raw []byte, m *Manifest, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("indexes lie more than %d deep in each other", maxDepth)
	}
	for _, c := range m.Manifests {
		if to.Has(c.Digest) { // and all that is below it, or every way through shared indexes would be gone
			continue
		}
		child, err := s.ReadManifest(c.Digest)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		cm, err := ParseManifest(c.MediaType, child)
		if err != nil {
			return err
		}
		if cm.IsIndex() {
			err = s.saveIndex(ctx, to, plain(c), child, cm, depth+1)
		} else {
			err = s.saveManifest(ctx, to, plain(c), child)
		}
		if err != nil {
			return err
		}
	}
	return to.Put(desc, bytes.NewReader(raw))
}

// saveManifest puts a manifest behind its blobs.
func (s *Store) saveManifest(ctx context.Context, to *archive.Sink, desc ocispec.Descriptor, raw []byte) error {
	m, err := ParseManifest(desc.MediaType, raw)
	if err != nil {
		return err
	}
	for _, d := range append(m.Layers, m.Config) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.saveBlob(ctx, to, d); err != nil {
			return err
		}
	}
	return to.Put(desc, bytes.NewReader(raw))
}

func (s *Store) saveBlob(ctx context.Context, to *archive.Sink, desc ocispec.Descriptor) error {
	if to.Has(desc.Digest) {
		return nil
	}
	r, err := s.openSaved(ctx, desc.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	return to.Put(desc, r)
}
