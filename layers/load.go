package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"

	"github.com/hodbuild/hod/layers/archive"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Loaded is what one item of an archive became.
type Loaded struct {
	Target ocispec.Descriptor // index, manifest, or config of an image that has no manifest
	Names  []string           // full names that it was given
}

// Load takes all images of an archive into the store, under the names that they
// have there. Manifests, configs and layers are verified against each other; a
// name changes only when everything below it is in the store.
func (s *Store) Load(ctx context.Context, src *archive.Source) ([]Loaded, error) {
	var list []Loaded
	for i, item := range src.Items() {
		loaded, err := s.LoadItem(ctx, src, item)
		if err != nil {
			return list, fmt.Errorf("load image %d of %d: %w", i+1, len(src.Items()), err)
		}
		target := loaded.Target
		for _, name := range item.Names {
			n, err := ParseName(name)
			if err != nil {
				return list, fmt.Errorf("load image %d: %w", i+1, err)
			}
			if err := s.Tag(ctx, n.String(), target); err != nil {
				return list, err
			}
			loaded.Names = append(loaded.Names, n.String())
		}
		list = append(list, loaded)
	}
	return list, nil
}

// LoadItem takes one image of an archive into the store and gives it no name.
func (s *Store) LoadItem(ctx context.Context, src *archive.Source, item archive.Item) (Loaded, error) {
	l := loader{s: s, src: src, seen: map[digest.Digest]bool{}}
	target, err := l.item(ctx, item)
	return Loaded{Target: target}, err
}

// loader walks one item.
type loader struct {
	s    *Store
	src  *archive.Source
	seen map[digest.Digest]bool
}

func (l *loader) item(ctx context.Context, item archive.Item) (ocispec.Descriptor, error) {
	if item.Target.Digest == "" {
		return l.docker(ctx, item)
	}
	target := plain(item.Target)
	return target, l.manifest(ctx, target, 0)
}

// manifest loads a manifest or index and what is below it.
func (l *loader) manifest(ctx context.Context, desc ocispec.Descriptor, depth int) error {
	if l.seen[desc.Digest] {
		return nil
	}
	l.seen[desc.Digest] = true
	if err := CheckDescriptor(desc); err != nil {
		return err
	}
	if depth > maxDepth {
		return fmt.Errorf("indexes lie more than %d deep in each other", maxDepth)
	}
	raw, err := l.src.Read(desc)
	if err != nil {
		return err
	}
	m, err := ParseManifest(desc.MediaType, raw)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	desc.MediaType = m.MediaType
	switch {
	case m.IsIndex():
		return l.index(ctx, desc, raw, m, depth)
	case isImage(m):
		return l.image(ctx, desc, raw, m)
	}
	return l.artifact(ctx, desc, raw, m)
}

// index loads the children that the archive has: writers leave out platforms
// that nobody asked for.
func (l *loader) index(ctx context.Context, desc ocispec.Descriptor, raw []byte, m *Manifest, depth int) error {
	here := 0
	for _, c := range m.Manifests {
		err := l.manifest(ctx, plain(c), depth+1)
		if errors.Is(err, fs.ErrNotExist) && !l.has(c) {
			continue
		}
		if err != nil {
			return err
		}
		here++
	}
	if here == 0 {
		return fmt.Errorf("index %s: none of its %d manifests is in the archive", desc.Digest, len(m.Manifests))
	}
	return l.s.PutManifest(ctx, desc, raw)
}

// has tells whether the archive has the bytes of a descriptor.
func (l *loader) has(desc ocispec.Descriptor) bool {
	r, err := l.src.Blob(desc)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	r.Close()
	return true
}

// sideBySide does something for each of n layers, some at once, and ends at the first error.
func sideBySide(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(min(runtime.GOMAXPROCS(0), 4))
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

// isImage tells images, whose layers are file systems, from other artifacts.
func isImage(m *Manifest) bool {
	if m.Config.MediaType != ocispec.MediaTypeImageConfig && m.Config.MediaType != DockerConfig {
		return false
	}
	return !slices.ContainsFunc(m.Layers, func(d ocispec.Descriptor) bool {
		_, err := layerType(d, false)
		return err != nil
	})
}

func (l *loader) image(ctx context.Context, desc ocispec.Descriptor, raw []byte, m *Manifest) error {
	config, err := l.src.Read(m.Config)
	if err != nil {
		return err
	}
	_, chain, err := parseConfig(config)
	if err != nil {
		return err
	}
	if len(chain) != len(m.Layers) {
		return fmt.Errorf("manifest %s has %d layers, its config names %d", desc.Digest, len(m.Layers), len(chain))
	}
	err = sideBySide(ctx, len(chain), func(ctx context.Context, i int) error {
		r, err := l.src.Blob(m.Layers[i])
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = l.s.IngestBlob(ctx, m.Layers[i], r, chain[i], IngestOptions{})
		return err
	})
	if err != nil {
		return err
	}
	_, err = l.s.PutImage(ctx, config, chain, PutImageOptions{Manifest: &desc, RawManifest: raw, Source: "load"})
	return err
}

// artifact keeps what is no image (signatures, provenance) byte for byte.
func (l *loader) artifact(ctx context.Context, desc ocispec.Descriptor, raw []byte, m *Manifest) error {
	for _, d := range append(slices.Clone(m.Layers), m.Config) {
		r, err := l.src.Blob(d)
		if err != nil {
			return err
		}
		err = l.s.PutBlob(ctx, d, r, true)
		r.Close()
		if err != nil {
			return err
		}
	}
	return l.s.PutManifest(ctx, desc, raw)
}

// docker loads an image of a Docker archive, whose layers have no digests of
// their own: what they must be follows from the config's diffIDs.
func (l *loader) docker(ctx context.Context, item archive.Item) (ocispec.Descriptor, error) {
	var none ocispec.Descriptor
	config, err := l.src.ReadFile(item.Config)
	if err != nil {
		return none, fmt.Errorf("config: %w", err)
	}
	_, chain, err := parseConfig(config)
	if err != nil {
		return none, err
	}
	if len(chain) != len(item.Layers) {
		return none, fmt.Errorf("it has %d layers, its config names %d", len(item.Layers), len(chain))
	}
	err = sideBySide(ctx, len(chain), func(ctx context.Context, i int) error {
		if err := l.dockerLayer(ctx, item.Layers[i], chain[i]); err != nil {
			return fmt.Errorf("layer %q: %w", item.Layers[i], err)
		}
		return nil
	})
	if err != nil {
		return none, err
	}
	img, err := l.s.PutImage(ctx, config, chain, PutImageOptions{Source: "load"})
	if err != nil {
		return none, err
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: img.ID, Size: int64(len(config))}, nil
}

func (l *loader) dockerLayer(ctx context.Context, name string, diffID digest.Digest) error {
	if _, err := l.s.Layer(diffID); err == nil && l.s.sourced(diffID) {
		return nil
	}
	r, _, err := l.src.File(name)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = l.s.IngestStream(ctx, r, diffID)
	return err
}
