package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/transfer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// accept is every kind of manifest that hod reads.
var accept = strings.Join([]string{
	ocispec.MediaTypeImageIndex, layers.DockerIndex, ocispec.MediaTypeImageManifest, layers.DockerManifest,
}, ", ")

// Remote is an image in a registry: its manifest and config, not its layers.
type Remote struct {
	Name     layers.Name
	Index    *ocispec.Descriptor // the index that the name resolved to, if it was one
	RawIndex []byte
	Desc     ocispec.Descriptor // of the platform's manifest
	Raw      []byte             // the manifest as it came
	Manifest *layers.Manifest
	Config   []byte
	Chain    layers.Chain
	platform ocispec.Platform
	session  *session
}

// isHost tells whether this machine can run the image.
func (r *Remote) isHost() bool { return layers.Matches(layers.HostPlatform(), r.platform) }

// Resolve reads the manifest and config that a name means for a platform; a nil
// platform is the host's. Each is verified against its digest.
func (c *Client) Resolve(ctx context.Context, ref string, p *ocispec.Platform) (*Remote, error) {
	n, err := layers.ParseName(ref)
	if err != nil {
		return nil, err
	}
	s, err := c.dial(n, toPull)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", n.Familiar(), err)
	}
	r, err := s.resolve(ctx, n, p)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", n.Familiar(), err)
	}
	return r, nil
}

func (s *session) resolve(ctx context.Context, n layers.Name, p *ocispec.Platform) (*Remote, error) {
	desc, raw, m, err := s.read(ctx, refOf(n))
	if err != nil {
		return nil, err
	}
	r := &Remote{Name: n, Desc: desc, Raw: raw, Manifest: m, session: s}
	if m.IsIndex() {
		if err := r.choose(ctx, p); err != nil {
			return nil, err
		}
	}
	return r, r.readConfig(ctx)
}

// choose takes the platform's manifest out of the index.
func (r *Remote) choose(ctx context.Context, p *ocispec.Platform) error {
	want := layers.HostPlatform()
	if p != nil {
		want = *p
	}
	index := r.Desc
	r.Index, r.RawIndex = &index, r.Raw
	for _, d := range r.Manifest.Manifests {
		if d.Platform == nil || !layers.Matches(want, *d.Platform) {
			continue
		}
		desc, raw, m, err := r.session.read(ctx, string(d.Digest))
		if err != nil {
			return err
		}
		if m.IsIndex() {
			return fmt.Errorf("index %s names an index for %s", index.Digest, layers.FormatPlatform(want))
		}
		r.Desc, r.Raw, r.Manifest = desc, raw, m
		return nil
	}
	return fmt.Errorf("no image for platform %s", layers.FormatPlatform(want))
}

func (r *Remote) readConfig(ctx context.Context) error {
	d := r.Manifest.Config
	if err := layers.CheckDescriptor(d); err != nil {
		return err
	}
	if d.Size > layers.MaxManifest {
		return fmt.Errorf("config of %d bytes is more than %d", d.Size, layers.MaxManifest)
	}
	raw, err := r.session.smallBlob(ctx, d)
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	r.Config = raw
	var c struct {
		ocispec.Platform
		RootFS struct {
			DiffIDs layers.Chain `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(r.Config, &c); err != nil {
		return fmt.Errorf("parse config: %w", err)
	}
	r.Chain, r.platform = c.RootFS.DiffIDs, c.Platform
	if len(r.Chain) != len(r.Manifest.Layers) {
		return fmt.Errorf("the manifest has %d layers and the config %d", len(r.Manifest.Layers), len(r.Chain))
	}
	return nil
}

// refOf is what a name asks its repository for: a digest rules.
func refOf(n layers.Name) string {
	if n.Digest != "" {
		return string(n.Digest)
	}
	return n.Tag
}

// smallBlob reads a blob whole, verified.
func (s *session) smallBlob(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	var raw []byte
	err := s.each(ctx, func(l *transfer.Line) error {
		var err error
		raw, _, err = l.Document(ctx, l.Path("blobs/%s", d.Digest), nil, d.Size)
		if err == nil {
			err = verify(raw, d)
		}
		return err
	})
	return raw, err
}

// read reads and verifies a manifest or index by tag or digest.
func (s *session) read(ctx context.Context, ref string) (desc ocispec.Descriptor, raw []byte, m *layers.Manifest, err error) {
	err = s.each(ctx, func(l *transfer.Line) error {
		var header http.Header
		var err error
		raw, header, err = l.Document(ctx, l.Path("manifests/%s", ref), http.Header{"Accept": {accept}}, layers.MaxManifest)
		if err != nil {
			return fmt.Errorf("read manifest: %w", err)
		}
		desc, m, err = describe(ref, header, raw)
		return err
	})
	return desc, raw, m, err
}

// describe verifies a manifest that came as ref and tells what it is.
func describe(ref string, header http.Header, raw []byte) (ocispec.Descriptor, *layers.Manifest, error) {
	var none ocispec.Descriptor
	d := digest.Canonical.FromBytes(raw)
	if want, err := digest.Parse(ref); err == nil {
		if d = want.Algorithm().FromBytes(raw); d != want {
			return none, nil, fmt.Errorf("read manifest: %w", &layers.DigestError{Want: want, Got: d})
		}
	}
	t, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	if t = strings.TrimSpace(t); !slices.Contains(strings.Split(accept, ", "), t) {
		t = ""
	}
	m, err := layers.ParseManifest(t, raw)
	if err != nil {
		return none, nil, err
	}
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: d, Size: int64(len(raw))}, m, nil
}

// verify compares bytes with what a descriptor says of them.
func verify(raw []byte, d ocispec.Descriptor) error {
	if int64(len(raw)) != d.Size {
		return fmt.Errorf("%s: want %d bytes, got %d", d.Digest, d.Size, len(raw))
	}
	if got := d.Digest.Algorithm().FromBytes(raw); got != d.Digest {
		return &layers.DigestError{Want: d.Digest, Got: got}
	}
	return nil
}
