package layers

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Resolve finds an image by name, by digest (of its config, its manifest or an
// index), by name@digest, or by a prefix of its ID. p chooses from an index and
// must fit what is found; nil prefers the host's platform and takes the only one
// there is. What it finds is held until the store is closed.
func (s *Store) Resolve(nameOrID string, p *ocispec.Platform) (*Image, error) {
	img, err := s.resolve(nameOrID, p)
	if err != nil {
		return nil, fmt.Errorf("resolve image %q: %w", nameOrID, err)
	}
	return img, nil
}

func (s *Store) resolve(name string, p *ocispec.Platform) (*Image, error) {
	if d := digest.Digest(name); validDigest(d) == nil {
		return s.resolveDigest(d, p)
	}
	n, err := ParseName(name)
	if err == nil {
		ref, rerr := s.reference(n)
		if rerr == nil {
			return s.resolveDigest(ref.Target.Digest, p)
		}
		if !errors.Is(rerr, ErrNotFound) {
			return nil, rerr
		}
	}
	if len(name) <= 64 && isHex(name) {
		return s.resolvePrefix(name, p)
	}
	if err != nil {
		return nil, err
	}
	return nil, ErrNotFound
}

func (s *Store) resolvePrefix(prefix string, p *ocispec.Platform) (*Image, error) {
	if len(prefix) == 64 {
		return s.resolveDigest(digest.NewDigestFromEncoded(digest.Canonical, prefix), p)
	}
	entries, err := os.ReadDir(s.path("images/ids"))
	if err != nil {
		return nil, err
	}
	found := ""
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		if found != "" {
			return nil, fmt.Errorf("ID %w", ErrAmbiguous)
		}
		found = e.Name()
	}
	if found == "" {
		return nil, ErrNotFound
	}
	return s.resolveDigest(digest.NewDigestFromEncoded(digest.Canonical, found), p)
}

// resolveDigest goes from an index, a manifest or a config to the image.
func (s *Store) resolveDigest(d digest.Digest, p *ocispec.Platform) (*Image, error) {
	return s.resolveBelow(d, p, map[digest.Digest]bool{})
}

// resolveBelow looks through an index once: those that are seen had nothing.
func (s *Store) resolveBelow(d digest.Digest, p *ocispec.Platform, seen map[digest.Digest]bool) (*Image, error) {
	if s.has(s.imagePath(d)) {
		img, err := s.image(d)
		if err == nil && p != nil && !Matches(*p, img.Platform) {
			return nil, fmt.Errorf("it is for %s, not for %s: %w", FormatPlatform(img.Platform), FormatPlatform(*p), ErrNotFound)
		}
		return img, err
	}
	raw, err := s.ReadManifest(d)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest("", raw)
	if err != nil {
		return nil, err
	}
	if m.IsIndex() && seen[d] {
		return nil, ErrNotFound
	}
	if m.IsIndex() {
		seen[d] = true
		return s.resolveIndex(m, p, seen)
	}
	if m.Config.Digest == d {
		return nil, fmt.Errorf("manifest %s names itself", d)
	}
	if !s.has(s.imagePath(m.Config.Digest)) {
		return nil, fmt.Errorf("manifest %s is not of an image that is here: %w", d, ErrNotFound)
	}
	img, err := s.resolveDigest(m.Config.Digest, p)
	if err == nil { // asked for by this manifest, whatever others there are
		img.Manifest = &ocispec.Descriptor{MediaType: m.MediaType, Digest: d, Size: int64(len(raw))}
	}
	return img, err
}

// resolveIndex chooses among the images of an index that are here.
func (s *Store) resolveIndex(m *Manifest, p *ocispec.Platform, seen map[digest.Digest]bool) (*Image, error) {
	want := HostPlatform()
	if p != nil {
		want = *p
	}
	var here []ocispec.Descriptor
	for _, d := range m.Manifests {
		if _, _, err := s.find("blobs", d.Digest); err != nil || isAttestation(d) {
			continue
		}
		if d.Platform == nil || Matches(want, *d.Platform) {
			if img, err := s.resolveBelow(d.Digest, p, seen); err == nil || !errors.Is(err, ErrNotFound) {
				return img, err
			}
		}
		here = append(here, d)
	}
	if p == nil && len(here) == 1 {
		return s.resolveBelow(here[0].Digest, nil, seen)
	}
	return nil, fmt.Errorf("no image for %s: %w", FormatPlatform(want), ErrNotFound)
}

// isAttestation tells of BuildKit's way to put provenance into an index.
func isAttestation(d ocispec.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] != ""
}

// HostPlatform is the platform of this machine.
func HostPlatform() ocispec.Platform {
	p := ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	return normalPlatform(p)
}

// normalPlatform fills in the variants that everybody leaves out.
func normalPlatform(p ocispec.Platform) ocispec.Platform {
	switch {
	case p.Architecture == "arm64" && p.Variant == "v8", p.Architecture == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	}
	return p
}

// Matches tells whether an image for have serves somebody who asked for want.
func Matches(want, have ocispec.Platform) bool {
	want, have = normalPlatform(want), normalPlatform(have)
	if want.OS != have.OS || want.Architecture != have.Architecture {
		return false
	}
	if want.OSVersion != "" && want.OSVersion != have.OSVersion {
		return false
	}
	return want.Variant == have.Variant || have.Variant == ""
}

// FormatPlatform is os/architecture[/variant].
func FormatPlatform(p ocispec.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}
