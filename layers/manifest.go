package layers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hodbuild/hod/layers/compress"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ManifestForm says which manifest of an image is wanted. The zero form is the
// one that the image came with, or else OCI types and gzip.
type ManifestForm struct {
	Docker      bool          // Docker's media types
	Compression compress.Spec // of layers of ours; layers from elsewhere keep their blobs
	Force       bool          // compress layers from elsewhere anew, too
	Annotations map[string]string
}

func (f ManifestForm) isZero() bool {
	return !f.Docker && !f.Force && f.Compression == (compress.Spec{}) && f.Annotations == nil
}

// key names the form in the image's record.
func (f ManifestForm) key() string {
	notes, err := json.Marshal(f.Annotations)
	if err != nil {
		panic(err) // a map of strings
	}
	return fmt.Sprintf("docker=%t force=%t %s %s", f.Docker, f.Force, f.Compression.Version(), digest.FromBytes(notes))
}

// Manifest gives a manifest of an image, making it and the compressed layers
// that it names where they are not there. It is remembered with the image.
func (s *Store) Manifest(ctx context.Context, img *Image, f ManifestForm) (ocispec.Descriptor, []byte, error) {
	desc, raw, err := s.manifest(ctx, img, f)
	if err != nil {
		return desc, nil, fmt.Errorf("make manifest of image %s: %w", img.ID, err)
	}
	return desc, raw, nil
}

func (s *Store) manifest(ctx context.Context, img *Image, f ManifestForm) (ocispec.Descriptor, []byte, error) {
	if f.isZero() {
		if img.Manifest != nil {
			if raw, err := s.wholeManifest(img.Manifest.Digest, img.Origins); err == nil || !errors.Is(err, ErrNotFound) {
				return *img.Manifest, raw, err
			}
		}
		f.Annotations = img.Annotations
	}
	f = f.settled()
	known, err := s.knownForm(img.ID, f)
	if err != nil {
		return known, nil, err
	}
	if known.Digest != "" {
		if raw, err := s.wholeManifest(known.Digest, img.Origins); err == nil {
			return known, raw, nil
		}
	}
	return s.makeManifest(ctx, img, f)
}

// settled says which compression a form has that names none.
func (f ManifestForm) settled() ManifestForm {
	if f.Compression.Algorithm == "" {
		f.Compression = compress.Spec{Algorithm: compress.Gzip, Level: f.Compression.Level}
	}
	return f
}

// knownForm is the manifest that an image's record has for a form; empty if none.
func (s *Store) knownForm(id digest.Digest, f ManifestForm) (ocispec.Descriptor, error) {
	rec, err := s.readImageRecord(id)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, known := range rec.Forms {
		if known.Key == f.key() {
			return known.Descriptor, nil
		}
	}
	return ocispec.Descriptor{}, nil
}

// KnownManifest gives the manifest that Manifest made of an image before, and would
// again, whether or not the blobs that it names are still here; ErrNotFound when
// it never did.
func (s *Store) KnownManifest(img *Image, f ManifestForm) (ocispec.Descriptor, []byte, error) {
	known, err := s.knownForm(img.ID, f.settled())
	if err != nil || known.Digest == "" {
		return known, nil, errors.Join(err, ErrNotFound)
	}
	raw, err := s.ReadManifest(known.Digest)
	return known, raw, err
}

// wholeManifest reads a manifest all of whose blobs are there, or known to be
// elsewhere.
func (s *Store) wholeManifest(d digest.Digest, away []Origin) ([]byte, error) {
	raw, err := s.ReadManifest(d)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest("", raw)
	if err != nil {
		return nil, err
	}
	for _, l := range append(m.Layers, m.Config) {
		if _, known := origin(away, l.Digest); known || len(l.URLs) > 0 {
			continue
		}
		if _, err := s.StatBlob(l.Digest); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

func (s *Store) makeManifest(ctx context.Context, img *Image, f ManifestForm) (ocispec.Descriptor, []byte, error) {
	m := ocispec.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   ocispec.MediaTypeImageManifest,
		Config:      ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: img.ID, Size: int64(len(img.Config))},
		Layers:      []ocispec.Descriptor{},
		Annotations: f.Annotations,
	}
	if f.Docker {
		m.MediaType, m.Config.MediaType = DockerManifest, DockerConfig
	}
	for _, d := range img.Chain {
		l, err := s.layerForm(ctx, d, f)
		if o, known := origin(img.Origins, d); known && !f.Force && errors.Is(err, ErrNotFound) {
			l, err = layerType(plain(o.Blob), f.Docker)
		}
		if err != nil {
			return ocispec.Descriptor{}, nil, err
		}
		m.Layers = append(m.Layers, l)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if err := s.PutManifest(ctx, desc, raw); err != nil {
		if s.spared(err) {
			return desc, raw, nil
		}
		return desc, nil, err
	}
	err = s.updateImage(img.ID, func(rec *imageRecord) {
		if rec.Manifest == nil {
			rec.Manifest = &desc
		}
		for i := range rec.Forms {
			if rec.Forms[i].Key == f.key() {
				rec.Forms[i].Descriptor = desc
				return
			}
		}
		rec.Forms = append(rec.Forms, manifestForm{f.key(), desc})
	})
	if s.spared(err) {
		err = nil
	}
	return desc, raw, err
}

// layerForm chooses the blob of a layer: the one it came as, else one of ours.
func (s *Store) layerForm(ctx context.Context, d digest.Digest, f ManifestForm) (ocispec.Descriptor, error) {
	forms, err := s.forms(d)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("layer %s: %w", d, err)
	}
	for _, known := range forms {
		if known.Compressor != "" || f.Force {
			continue
		}
		if known.Descriptor.MediaType == ocispec.MediaTypeImageLayer && f.Compression.Algorithm != compress.None {
			continue // a plain tar, from an import or a Docker archive: nobody wants that on the wire
		}
		if _, err := s.StatBlob(known.Descriptor.Digest); err == nil {
			return layerType(plain(known.Descriptor), f.Docker)
		}
	}
	desc, err := s.Compressed(ctx, d, f.Compression)
	if err != nil {
		return desc, err
	}
	return layerType(plain(desc), f.Docker)
}

// layerAlgorithm tells how a layer's blob is compressed.
func layerAlgorithm(mediaType string) (a compress.Algorithm, known bool) {
	switch mediaType {
	case ocispec.MediaTypeImageLayer, "application/vnd.docker.image.rootfs.diff.tar":
		return compress.None, true
	case ocispec.MediaTypeImageLayerGzip, DockerLayer:
		return compress.Gzip, true
	case ocispec.MediaTypeImageLayerZstd:
		return compress.Zstd, true
	}
	return "", false
}

// IsCompressed tells of a layer's blob that a manifest takes as it is: a plain tar
// is compressed for it.
func IsCompressed(desc ocispec.Descriptor) bool {
	a, known := layerAlgorithm(desc.MediaType)
	return known && a != compress.None
}

// layerType calls a layer's blob by the other family's media type.
func layerType(desc ocispec.Descriptor, docker bool) (ocispec.Descriptor, error) {
	a, known := layerAlgorithm(desc.MediaType)
	if !known {
		return desc, fmt.Errorf("layer %s has the unknown media type %q", desc.Digest, desc.MediaType)
	}
	mt, err := compress.Spec{Algorithm: a}.MediaType(docker)
	desc.MediaType = mt
	return desc, err
}
