package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers"
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
	session  *session
}

// Resolve reads the manifest and config that a name means for a platform; a nil
// platform is the host's. Each is verified against its digest.
func (c *Client) Resolve(ctx context.Context, ref string, p *ocispec.Platform) (*Remote, error) {
	n, err := layers.ParseName(ref)
	if err != nil {
		return nil, err
	}
	s, err := c.dial(ctx, n, false)
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
	ref := n.Tag
	if n.Digest != "" {
		ref = string(n.Digest)
	}
	desc, raw, err := s.manifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	m, err := layers.ParseManifest(desc.MediaType, raw)
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
		desc, raw, err := r.session.manifest(ctx, string(d.Digest))
		if err != nil {
			return err
		}
		m, err := layers.ParseManifest(desc.MediaType, raw)
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
	raw, _, err := r.session.document(ctx, r.session.path("blobs/%s", d.Digest), nil, d.Size)
	if err == nil {
		err = verify(raw, d)
	}
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	r.Config = raw
	var c struct {
		RootFS struct {
			DiffIDs layers.Chain `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(r.Config, &c); err != nil {
		return fmt.Errorf("parse config: %w", err)
	}
	r.Chain = c.RootFS.DiffIDs
	if len(r.Chain) != len(r.Manifest.Layers) {
		return fmt.Errorf("the manifest has %d layers and the config %d", len(r.Manifest.Layers), len(r.Chain))
	}
	return nil
}

// manifest reads and verifies a manifest by tag or digest.
func (s *session) manifest(ctx context.Context, ref string) (ocispec.Descriptor, []byte, error) {
	var none ocispec.Descriptor
	raw, kind, err := s.document(ctx, s.path("manifests/%s", ref), http.Header{"Accept": {accept}}, layers.MaxManifest)
	if err != nil {
		return none, nil, fmt.Errorf("read manifest: %w", err)
	}
	d := digest.Canonical.FromBytes(raw)
	if want, err := digest.Parse(ref); err == nil {
		if d = want.Algorithm().FromBytes(raw); d != want {
			return none, nil, fmt.Errorf("read manifest: %w", &layers.DigestError{Want: want, Got: d})
		}
	}
	t, _, _ := strings.Cut(kind, ";")
	if !strings.Contains(accept, t) {
		t = ""
	}
	m, err := layers.ParseManifest(t, raw)
	if err != nil {
		return none, nil, err
	}
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: d, Size: int64(len(raw))}, raw, nil
}

// document reads something small whole, and its media type. An answer that
// breaks off is asked for again.
func (s *session) document(ctx context.Context, path string, header http.Header, most int64) ([]byte, string, error) {
	for try := 1; ; try++ {
		raw, kind, err := s.documentOnce(ctx, path, header, most)
		var status *StatusError
		if err == nil || try >= tries || ctx.Err() != nil || errors.As(err, &status) || errors.Is(err, errTooLarge) {
			return raw, kind, err
		}
	}
}

// errTooLarge is a document that is not small.
var errTooLarge = errors.New("it is too large")

func (s *session) documentOnce(ctx context.Context, path string, header http.Header, most int64) ([]byte, string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := s.do(ctx, http.MethodGet, path, header, nil, http.StatusOK)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	idle := time.AfterFunc(s.c.idle, func() { cancel(errIdle) })
	defer idle.Stop()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil && errors.Is(context.Cause(ctx), errIdle):
		return nil, "", errIdle
	case err != nil:
		return nil, "", err
	case int64(len(raw)) > most:
		return nil, "", fmt.Errorf("%w: more than %d bytes", errTooLarge, most)
	}
	return raw, resp.Header.Get("Content-Type"), nil
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
