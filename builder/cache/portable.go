package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ConfigType is the media type of an exported cache's records.
const ConfigType = "application/vnd.hod.cache.config.v1+json"

// configLimit bounds the records of a cache that is imported.
const configLimit = 64 << 20

// Portable is a cache that travels: records by key, and where the layers are that they name. It holds neither inputs nor
// times, so the same build exports the same bytes.
type Portable struct {
	Version string          `json:"version"`
	Steps   []PortableStep  `json:"steps"`
	Layers  []PortableLayer `json:"layers,omitempty"`
}

// PortableStep is one step's result under all its keys.
type PortableStep struct {
	Operation digest.Digest   `json:"operation"`
	Keys      []digest.Digest `json:"keys"`
	Layer     digest.Digest   `json:"layer,omitempty"` // a diffID
	Packer    string          `json:"packer,omitempty"`
}

// PortableLayer says which blob holds a layer.
type PortableLayer struct {
	DiffID digest.Digest      `json:"diffID"`
	Blob   ocispec.Descriptor `json:"blob"`
}

// Add notes what a step left. It may be called while the build goes on, from one goroutine.
func (p *Portable) Add(op digest.Digest, r Record, keys ...digest.Digest) {
	keys = slices.Clone(keys)
	slices.Sort(keys)
	p.Steps = append(p.Steps, PortableStep{Operation: op, Keys: slices.Compact(keys), Layer: r.Layer, Packer: r.Packer})
}

// Only leaves the steps whose layers are all in chain, which is min mode: what the result is made of. Max mode keeps all.
func (p *Portable) Only(chain []digest.Digest) {
	p.Steps = slices.DeleteFunc(p.Steps, func(s PortableStep) bool {
		return s.Layer != "" && !slices.Contains(chain, s.Layer)
	})
}

// normalize sorts, so that the order in which steps ended shows nowhere.
func (p *Portable) normalize() {
	p.Version = Version
	slices.SortFunc(p.Steps, func(a, b PortableStep) int {
		if c := compare(a.Operation, b.Operation); c != 0 {
			return c
		}
		return slices.Compare(a.Keys, b.Keys)
	})
	p.Steps = slices.CompactFunc(p.Steps, func(a, b PortableStep) bool {
		return a.Operation == b.Operation && slices.Equal(a.Keys, b.Keys)
	})
	slices.SortFunc(p.Layers, func(a, b PortableLayer) int { return compare(a.DiffID, b.DiffID) })
}

func compare(a, b digest.Digest) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Sink takes an exported cache: a registry's repository or a folder.
type Sink interface {
	// Put stores a blob, once; open is called only when the blob is not there yet.
	Put(ctx context.Context, desc ocispec.Descriptor, open func() (io.ReadCloser, error)) error
	// Publish makes a manifest the target of the cache's reference.
	Publish(ctx context.Context, desc ocispec.Descriptor, manifest []byte) error
}

// Blobs gives a layer's compressed form, made or found; a store does it.
type Blobs interface {
	Compressed(ctx context.Context, diffID digest.Digest) (ocispec.Descriptor, error)
	Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error)
}

// Export writes the cache: all blobs first, then the manifest. It gives back the manifest's descriptor.
func (p *Portable) Export(ctx context.Context, blobs Blobs, to Sink) (ocispec.Descriptor, error) {
	p.Layers = nil
	p.normalize()
	for _, d := range p.diffIDs() {
		desc, err := sendLayer(ctx, blobs, to, d)
		if err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("export cache: %w", err)
		}
		p.Layers = append(p.Layers, PortableLayer{d, desc})
	}
	return p.publish(ctx, to)
}

// sendLayer puts one layer's blob into the sink.
func sendLayer(ctx context.Context, blobs Blobs, to Sink, d digest.Digest) (ocispec.Descriptor, error) {
	desc, err := blobs.Compressed(ctx, d)
	if err != nil {
		return desc, fmt.Errorf("layer %s: %w", d, err)
	}
	desc = ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}
	if err := to.Put(ctx, desc, func() (io.ReadCloser, error) { return blobs.Open(ctx, desc) }); err != nil {
		return desc, fmt.Errorf("layer %s: %w", d, err)
	}
	return desc, nil
}

func (p *Portable) publish(ctx context.Context, to Sink) (ocispec.Descriptor, error) {
	config, err := json.Marshal(p)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: descriptor(ConfigType, config), Layers: []ocispec.Descriptor{},
	}
	for _, l := range p.Layers {
		m.Layers = append(m.Layers, l.Blob)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := to.Put(ctx, m.Config, opener(config)); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("export cache: %w", err)
	}
	desc := descriptor(ocispec.MediaTypeImageManifest, raw)
	if err := to.Publish(ctx, desc, raw); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("export cache: %w", err)
	}
	return desc, nil
}

func (p *Portable) diffIDs() []digest.Digest {
	var all []digest.Digest
	for _, s := range p.Steps {
		if s.Layer != "" {
			all = append(all, s.Layer)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Inline is the cache as a field of an image's own config, whose layers are the image's. Only steps of chain are in it.
func (p *Portable) Inline(chain []digest.Digest) (json.RawMessage, error) {
	in := Portable{Steps: slices.Clone(p.Steps)}
	in.Only(chain)
	in.normalize()
	return json.Marshal(in)
}

// InlineKey is the name of that field.
const InlineKey = "hod.cache.v1"

// Origin is where a cache is imported from.
type Origin interface {
	// Resolve reads the manifest of the cache's reference.
	Resolve(ctx context.Context) ([]byte, error)
	// Open reads a blob.
	Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error)
	// Repository is where the blobs are for later, as registry/path; empty where they are in no registry.
	Repository() string
}

// ErrNoCache is an image or a manifest that carries no cache.
var ErrNoCache = errors.New("no build cache there")

// Imported is a cache from elsewhere. Its records answer like the store's own; its layers are fetched when their bytes
// are needed, and not before.
type Imported struct {
	from    Origin
	records map[[2]digest.Digest]Record
	blobs   map[digest.Digest]ocispec.Descriptor
}

// Import reads an exported cache's records, or the inline caches of an image, of which an index may have several.
func Import(ctx context.Context, from Origin) (*Imported, error) {
	raw, err := from.Resolve(ctx)
	if err != nil {
		return nil, fmt.Errorf("import cache: %w", err)
	}
	im := &Imported{from: from, records: map[[2]digest.Digest]Record{}, blobs: map[digest.Digest]ocispec.Descriptor{}}
	found, err := im.read(ctx, raw, true)
	if err != nil {
		return nil, fmt.Errorf("import cache: %w", err)
	}
	if !found {
		return nil, fmt.Errorf("import cache: %w", ErrNoCache)
	}
	return im, nil
}

// read takes what a manifest holds, or each manifest of an index, and tells whether there was anything.
func (im *Imported) read(ctx context.Context, raw []byte, top bool) (bool, error) {
	var m struct {
		ocispec.Manifest
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return false, fmt.Errorf("read manifest: %w", err)
	}
	if top && m.Manifests != nil {
		found := false
		for _, d := range m.Manifests {
			child, err := readBlob(ctx, im.from, d)
			if err != nil {
				return false, err
			}
			one, err := im.read(ctx, child, false)
			if err != nil {
				return false, err
			}
			found = found || one
		}
		return found, nil
	}
	config, err := readBlob(ctx, im.from, m.Config)
	if err != nil {
		return false, err
	}
	p, err := readPortable(config, m.Manifest)
	if errors.Is(err, ErrNoCache) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, im.take(p)
}

func readPortable(config []byte, m ocispec.Manifest) (*Portable, error) {
	var p Portable
	if m.Config.MediaType == ConfigType {
		if err := json.Unmarshal(config, &p); err != nil {
			return nil, fmt.Errorf("read records: %w", err)
		}
		return &p, nil
	}
	var image struct {
		Cache  json.RawMessage `json:"hod.cache.v1"`
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &image); err != nil || image.Cache == nil {
		return nil, ErrNoCache
	}
	if err := json.Unmarshal(image.Cache, &p); err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	if len(image.RootFS.DiffIDs) != len(m.Layers) {
		return nil, errors.New("read records: config and manifest do not have the same layers")
	}
	p.Layers = nil
	for i, d := range image.RootFS.DiffIDs {
		p.Layers = append(p.Layers, PortableLayer{d, m.Layers[i]})
	}
	return &p, nil
}

// take checks all that a stranger may have written, and makes it findable.
func (im *Imported) take(p *Portable) error {
	if p.Version != Version {
		return fmt.Errorf("its version is %q, ours is %q", p.Version, Version)
	}
	for _, l := range p.Layers {
		if err := errors.Join(l.DiffID.Validate(), l.Blob.Digest.Validate()); err != nil || l.Blob.Size < 0 {
			return fmt.Errorf("layer %.80q: invalid", l.DiffID)
		}
		im.blobs[l.DiffID] = l.Blob
	}
	for _, s := range p.Steps {
		if _, ok := im.blobs[s.Layer]; s.Layer != "" && !ok || s.Operation.Validate() != nil {
			continue // a layer without a blob cannot be used
		}
		for _, key := range s.Keys {
			im.records[[2]digest.Digest{s.Operation, key}] = Record{Layer: s.Layer, Packer: s.Packer, Keys: s.Keys}
		}
	}
	return nil
}

// Find gives the record under a key, nil when there is none.
func (im *Imported) Find(op, key digest.Digest) *Record {
	r, ok := im.records[[2]digest.Digest{op, key}]
	if !ok {
		return nil
	}
	return &r
}

// Blob says which blob holds a layer.
func (im *Imported) Blob(diffID digest.Digest) (ocispec.Descriptor, bool) {
	d, ok := im.blobs[diffID]
	return d, ok
}

// Repository is where the blobs are for later, see [Origin].
func (im *Imported) Repository() string { return im.from.Repository() }

// Open reads a layer's blob; the caller verifies it against desc.
func (im *Imported) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return im.from.Open(ctx, desc)
}
