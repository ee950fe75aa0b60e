package layers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's media types, which mean the same as OCI's.
const (
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig   = "application/vnd.docker.container.image.v1+json"
	DockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// Manifest is a manifest or an index, of OCI or Docker.
type Manifest struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       ocispec.Descriptor   `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
	Annotations  map[string]string    `json:"annotations"`
}

// IsIndex tells an index from a manifest.
func (m *Manifest) IsIndex() bool {
	return m.MediaType == ocispec.MediaTypeImageIndex || m.MediaType == DockerIndex
}

// ParseManifest reads foreign bytes as a manifest or index. mediaType is what
// its descriptor or its server called it, or empty. A document that could be
// read as both (CVE-2021-41190), says another type than it was called, repeats a
// key, or has descriptors that no registry may have, is an error.
func ParseManifest(mediaType string, raw []byte) (*Manifest, error) {
	m, err := parseManifest(mediaType, raw)
	if err != nil {
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	return m, nil
}

func parseManifest(mediaType string, raw []byte) (*Manifest, error) {
	if len(raw) > MaxManifest {
		return nil, fmt.Errorf("%d bytes are more than %d", len(raw), MaxManifest)
	}
	keys, err := topLevelKeys(raw)
	if err != nil {
		return nil, err
	}
	m := new(Manifest)
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, err
	}
	isIndex, isManifest := keys["manifests"], keys["config"] || keys["layers"]
	switch {
	case isIndex && isManifest:
		return nil, fmt.Errorf("it has both manifests and layers")
	case !isIndex && !isManifest:
		return nil, fmt.Errorf("it has neither manifests nor layers")
	case mediaType != "" && m.MediaType != "" && mediaType != m.MediaType:
		return nil, fmt.Errorf("it says to be %q but was called %q", m.MediaType, mediaType)
	}
	m.MediaType = orElse(m.MediaType, mediaType)
	if m.MediaType == "" {
		m.MediaType = ocispec.MediaTypeImageManifest
		if isIndex {
			m.MediaType = ocispec.MediaTypeImageIndex
		}
	}
	if isIndex != m.IsIndex() {
		return nil, fmt.Errorf("its content is not that of a %q", m.MediaType)
	}
	return m, m.check()
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (m *Manifest) check() error {
	ds := append([]ocispec.Descriptor{}, m.Manifests...)
	ds = append(ds, m.Layers...)
	if !m.IsIndex() {
		ds = append(ds, m.Config)
	}
	if m.Subject != nil {
		ds = append(ds, *m.Subject)
	}
	for _, d := range ds {
		if err := CheckDescriptor(d); err != nil {
			return err
		}
	}
	return nil
}

// CheckDescriptor tells what is wrong with a foreign descriptor: its digest, its
// size, or embedded data that are not what they promise.
func CheckDescriptor(d ocispec.Descriptor) error {
	if err := validDigest(d.Digest); err != nil {
		return err
	}
	if d.Size < 0 {
		return fmt.Errorf("descriptor of %s: size %d is negative", d.Digest, d.Size)
	}
	if len(d.Data) > 0 && (int64(len(d.Data)) != d.Size || d.Digest.Algorithm().FromBytes(d.Data) != d.Digest) {
		return fmt.Errorf("descriptor of %s: its embedded data are something else", d.Digest)
	}
	return nil
}

// topLevelKeys reads the keys of a JSON object and refuses repeated ones, in any
// case: readers disagree on which of them counts.
func topLevelKeys(raw []byte) (map[string]bool, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("it is not a JSON object")
	}
	keys := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key := strings.ToLower(t.(string))
		if keys[key] {
			return nil, fmt.Errorf("key %q is repeated", key)
		}
		keys[key] = true
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows its end")
	}
	return keys, nil
}

// parseConfig reads what the store needs of an image's config.
func parseConfig(raw []byte) (ocispec.Platform, Chain, error) {
	var c struct {
		ocispec.Platform
		RootFS struct {
			DiffIDs Chain `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return ocispec.Platform{}, nil, fmt.Errorf("parse image config: %w", err)
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := validDigest(d); err != nil {
			return ocispec.Platform{}, nil, fmt.Errorf("parse image config: %w", err)
		}
	}
	return c.Platform, c.RootFS.DiffIDs, nil
}

// maxDepth bounds indexes in indexes.
const maxDepth = 8

// keepTarget makes durable what a reference is about to name, and tells when a
// part of it is missing: children of an index may be, parts of a manifest may not.
// seen makes it linear where indexes share children.
func (s *Store) keepTarget(ctx context.Context, d digest.Digest, seen map[digest.Digest]bool, depth int) error {
	if err := ctx.Err(); err != nil || seen[d] {
		return err
	}
	seen[d] = true
	if _, err := s.StatBlob(d); err != nil {
		return err
	}
	if err := s.keepBlob(d); err != nil {
		return err
	}
	if s.has(s.imagePath(d)) {
		_, err := s.image(d)
		return err // PutImage kept its layers
	}
	raw, err := s.ReadManifest(d)
	if err != nil {
		return err
	}
	m, err := ParseManifest("", raw)
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return fmt.Errorf("indexes lie more than %d deep in each other", maxDepth)
	}
	for _, c := range m.Manifests {
		if err := s.keepTarget(ctx, c.Digest, seen, depth+1); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	if m.IsIndex() {
		return nil
	}
	return s.keepParts(m)
}

func (s *Store) keepParts(m *Manifest) error {
	img := &Image{}
	if err := s.hold(m.Config.Digest); err != nil {
		return err
	}
	if err := s.keepBlob(m.Config.Digest); err != nil {
		return fmt.Errorf("config %s: %w", m.Config.Digest, err)
	}
	if s.has(s.imagePath(m.Config.Digest)) {
		var err error
		if img, err = s.image(m.Config.Digest); err != nil {
			return err
		}
	}
	for i, l := range m.Layers {
		if err := s.hold(l.Digest); err != nil {
			return err
		}
		err := s.keepBlob(l.Digest)
		again := len(img.Chain) == len(m.Layers) && s.exists(img.Chain[i])
		_, away := origin(img.Origins, l.Digest)
		if errors.Is(err, ErrNotFound) && (again || away || len(l.URLs) > 0) {
			continue // can be made or fetched again, or may not be copied
		}
		if err != nil {
			return fmt.Errorf("layer %s: %w", l.Digest, err)
		}
	}
	return nil
}
