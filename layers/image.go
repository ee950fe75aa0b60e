package layers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is a config and the layers that it names.
type Image struct {
	ID          digest.Digest       // of the config
	Config      []byte              // raw; patch it, never marshal it anew
	Chain       Chain               // as the config has it
	Manifest    *ocispec.Descriptor // as it came, or was last made; nil if there is none yet
	Platform    ocispec.Platform    // as the config has it
	Built       time.Time           // when it was really built or pulled here
	Source      string              // where it came from, for people
	Annotations map[string]string   // for the manifests that are made of it
	Origins     []Origin            // layers that may be elsewhere: Store.Missing tells which are
}

// imageRecord is images/ids/<hex>: what an image's config does not say.
type imageRecord struct {
	Manifest    *ocispec.Descriptor `json:"manifest,omitempty"`
	Built       time.Time           `json:"built"`
	Source      string              `json:"source,omitempty"`
	Annotations map[string]string   `json:"annotations,omitempty"`
	Forms       []manifestForm      `json:"forms,omitempty"`
	Origins     []Origin            `json:"origins,omitempty"`
}

// manifestForm is a manifest that was made of an image, and from what.
type manifestForm struct {
	Key        string             `json:"key"`
	Descriptor ocispec.Descriptor `json:"descriptor"`
}

// PutImageOptions is what goes into the store with an image.
type PutImageOptions struct {
	Built       time.Time
	Source      string
	Manifest    *ocispec.Descriptor // with RawManifest: the manifest that it came with
	RawManifest []byte
	Annotations map[string]string
	Origins     []Origin // of layers that need not be in the store
}

// PutImage stores an image. Its layers must be in the store, or be known to be
// elsewhere, and its config must name exactly them. Image and layers are durable
// when it returns. Putting the same image again adds what is new and keeps the
// rest.
func (s *Store) PutImage(ctx context.Context, config []byte, chain Chain, o PutImageOptions) (*Image, error) {
	id := digest.Canonical.FromBytes(config)
	if err := s.putImage(ctx, id, config, chain, o); err != nil {
		return nil, fmt.Errorf("put image %s: %w", id, err)
	}
	return s.image(id)
}

func (s *Store) putImage(ctx context.Context, id digest.Digest, config []byte, chain Chain, o PutImageOptions) error {
	if _, named, err := parseConfig(config); err != nil {
		return err
	} else if !slices.Equal(named, chain) {
		return fmt.Errorf("its config names %d layers that are not the %d given", len(named), len(chain))
	}
	known := o.Origins
	if rec, err := s.readImageRecord(id); err == nil {
		known = append(slices.Clone(known), rec.Origins...)
	}
	away, err := s.keepLayers(ctx, chain, known)
	if err != nil {
		return err
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: id, Size: int64(len(config))}
	if err := s.putBytes(ctx, desc, config); err != nil {
		return err
	}
	if o.Manifest != nil {
		if err := s.PutManifest(ctx, *o.Manifest, o.RawManifest); err != nil {
			return err
		}
	}
	return s.updateImage(id, func(rec *imageRecord) {
		if rec.Built.IsZero() {
			rec.Built = o.Built
		}
		if rec.Built.IsZero() {
			rec.Built = s.o.Now().UTC()
		}
		if o.Source != "" {
			rec.Source = o.Source
		}
		if o.Manifest != nil {
			m := plain(*o.Manifest)
			rec.Manifest = &m
		}
		if o.Annotations != nil {
			rec.Annotations = o.Annotations
		}
		rec.Origins = away
	})
}

// updateImage rewrites an image's record, durably. Two that do it at once may
// lose one's remembered forms, which can be made again, and nothing else.
func (s *Store) updateImage(id digest.Digest, change func(*imageRecord)) error {
	path := s.imagePath(id)
	var rec imageRecord
	old, err := readRecord(path)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("read image record: %w", err)
	}
	if json.Unmarshal(old, &rec) != nil { // damaged: what is put now takes its place
		rec = imageRecord{}
	}
	change(&rec)
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if string(data) == string(old) {
		return nil
	}
	return s.writeRecord(path, data, true)
}

func (s *Store) imagePath(id digest.Digest) string { return s.path("images/ids", id.Encoded()) }

// putBytes stores a small blob durably.
func (s *Store) putBytes(ctx context.Context, desc ocispec.Descriptor, raw []byte) error {
	if _, err := s.StatBlob(desc.Digest); err == nil {
		return s.keepBlob(desc.Digest)
	}
	w, err := s.CreateBlob(BlobOptions{Durable: true, Expect: desc})
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.Write(raw); err != nil {
		return err
	}
	_, err = w.Commit(ctx)
	return err
}

// PutManifest stores the bytes of a manifest or index as they are, durably.
func (s *Store) PutManifest(ctx context.Context, desc ocispec.Descriptor, raw []byte) error {
	if len(raw) > MaxManifest {
		return fmt.Errorf("put manifest %s: %d bytes are more than %d", desc.Digest, len(raw), MaxManifest)
	}
	if _, err := ParseManifest(desc.MediaType, raw); err != nil {
		return fmt.Errorf("put manifest %s: %w", desc.Digest, err)
	}
	if err := s.putBytes(ctx, desc, raw); err != nil {
		return fmt.Errorf("put manifest %s: %w", desc.Digest, err)
	}
	return nil
}

// PutIndex stores the bytes of an index as they are, durably.
func (s *Store) PutIndex(ctx context.Context, raw []byte) (ocispec.Descriptor, error) {
	m, err := ParseManifest("", raw)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("put index: %w", err)
	}
	if !m.IsIndex() {
		return ocispec.Descriptor{}, fmt.Errorf("put index: it is a manifest")
	}
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.Canonical.FromBytes(raw), Size: int64(len(raw))}
	return desc, s.PutManifest(ctx, desc, raw)
}

// RemoveImage forgets an image; ErrNotFound when there is none. Its bytes stay
// until a collection. The caller removes its names first.
func (s *Store) RemoveImage(ctx context.Context, id digest.Digest) error {
	err := validDigest(id)
	if err == nil {
		err = removeRecord(s.imagePath(id))
	}
	if err != nil {
		return fmt.Errorf("remove image %s: %w", id, err)
	}
	return nil
}

// image reads an image by its ID and holds all of it.
func (s *Store) image(id digest.Digest) (*Image, error) {
	if err := validDigest(id); err != nil {
		return nil, err
	}
	config, err := s.ReadManifest(id)
	if err != nil {
		return nil, err
	}
	img, err := s.imageRecord(id)
	if err != nil {
		return nil, err
	}
	img.Config = config
	if img.Platform, img.Chain, err = parseConfig(config); err != nil {
		return nil, fmt.Errorf("image %s: %w", id, err)
	}
	held := img.Chain
	if img.Manifest != nil {
		held = append(slices.Clone(held), img.Manifest.Digest)
	}
	return img, s.hold(held...)
}

// imageRecord is an image as far as its record says.
func (s *Store) imageRecord(id digest.Digest) (*Image, error) {
	raw, err := readRecord(s.imagePath(id))
	if err != nil {
		return nil, err
	}
	var rec imageRecord
	if err := json.Unmarshal(raw, &rec); err != nil {
		return nil, fmt.Errorf("read record of image %s: %w: %w", id, ErrDamaged, err)
	}
	return &Image{ID: id, Manifest: rec.Manifest, Built: rec.Built, Source: rec.Source, Annotations: rec.Annotations, Origins: rec.Origins}, nil
}
