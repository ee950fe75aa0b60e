package layers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Origin is a layer of an image that nobody needed here yet: the blob that it is,
// and the repositories that have it. Such a layer has no form in the store; who
// needs its bytes fetches them from there.
type Origin struct {
	Layer digest.Digest      `json:"layer"`
	Blob  ocispec.Descriptor `json:"blob"`
	From  []string           `json:"from"` // as registry/path, the first to ask first
}

// origin finds a layer, or a layer's blob, among those that are elsewhere.
func origin(list []Origin, d digest.Digest) (Origin, bool) {
	i := slices.IndexFunc(list, func(o Origin) bool { return o.Layer == d || o.Blob.Digest == d })
	if i < 0 {
		return Origin{}, false
	}
	return list[i], true
}

// Missing lists the layers of an image that are known to be elsewhere and are not
// here, each once.
func (s *Store) Missing(img *Image) []Origin {
	var list []Origin
	for _, o := range img.Origins {
		if !s.whole(o.Layer) {
			list = append(list, o)
		}
	}
	return list
}

// LayerSize is what a layer of an image takes as a tar. Of one that is elsewhere
// nobody knows more than the size of its blob.
func (s *Store) LayerSize(img *Image, d digest.Digest) (int64, error) {
	info, err := s.Layer(d)
	if o, ok := origin(img.Origins, d); ok && errors.Is(err, ErrNotFound) {
		return o.Blob.Size, nil
	}
	return info.Size, err
}

// Meant lists the images that a name means: one, or all of an index that are
// here; p, if set, takes one of them.
func (s *Store) Meant(name string, p *ocispec.Platform) ([]*Image, error) {
	target, err := s.ResolveDescriptor(name)
	if err != nil || p != nil {
		img, err := s.Resolve(name, p)
		return []*Image{img}, err
	}
	list, err := s.meant(target.Digest, map[digest.Digest]bool{}, 0)
	if err != nil {
		return nil, fmt.Errorf("resolve image %q: %w", name, err)
	}
	return list, nil
}

// meant lists the images below a manifest, each manifest once.
func (s *Store) meant(d digest.Digest, seen map[digest.Digest]bool, depth int) ([]*Image, error) {
	if seen[d] {
		return nil, nil
	}
	seen[d] = true
	raw, err := s.ReadManifest(d)
	if err != nil {
		return nil, skipMissing(err) // of a platform that is not here
	}
	m, err := ParseManifest("", raw)
	if err != nil || !m.IsIndex() || depth > maxDepth {
		img, err := s.resolveDigest(d, nil)
		if errors.Is(err, ErrNotFound) { // what an index has beside images
			return nil, nil
		}
		return []*Image{img}, err
	}
	var list []*Image
	for _, c := range m.Manifests {
		more, err := s.meant(c.Digest, seen, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

// keepLayers makes the layers of a chain durable, but for those that are
// elsewhere, which it gives back.
func (s *Store) keepLayers(ctx context.Context, chain Chain, known []Origin) ([]Origin, error) {
	var away []Origin
	later := folders{}
	for _, d := range chain {
		err := s.keepLayer(ctx, d, later)
		if o, ok := origin(known, d); ok && errors.Is(err, ErrNotFound) {
			err = nil
			if _, listed := origin(away, d); !listed {
				away = append(away, o)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return away, later.sync()
}
