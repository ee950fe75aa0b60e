package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Attest says which statements about a result go with it. They hold no time and nothing of this machine, so that the
// same build makes the same statements.
type Attest struct {
	// Provenance is min, max (with the arguments, the recipe and the steps), or empty for none.
	Provenance string
	// Scanner is the image that lists what is in the result, empty for none. Its protocol is BuildKit's; ScannerArgs are
	// its parameters.
	Scanner     string
	ScannerArgs map[string]string
}

func (a Attest) none() bool { return a.Provenance == "" && a.Scanner == "" }

// statement is one thing that is said about a result: an in-toto statement without its subject.
type statement struct {
	file          string // of an output of files
	predicateType string
	predicate     json.RawMessage
}

const (
	inTotoType       = "https://in-toto.io/Statement/v1"
	inTotoMedia      = "application/vnd.in-toto+json"
	attestationMedia = "application/vnd.docker.attestation.manifest.v1+json"
)

// statements makes what is asked for about a target. A target without files has none.
func (b *build) statements(ctx context.Context, t plan.Target) ([]statement, error) {
	if t.Step == nil {
		return nil, nil
	}
	if list, ok := b.said[t.Step]; ok {
		return list, nil
	}
	var list []statement
	if b.o.Attest.Scanner != "" {
		found, err := b.scan(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("scan with %s: %w", b.o.Attest.Scanner, err)
		}
		list = append(list, found...)
	}
	if b.o.Attest.Provenance != "" {
		s, err := b.provenance(t)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	if b.said == nil {
		b.said = map[*plan.Step][]statement{}
	}
	b.said[t.Step] = list
	return list, nil
}

// subject is what a statement is about.
type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

func subjectOf(name string, d digest.Digest) subject {
	return subject{name, map[string]string{d.Algorithm().String(): d.Encoded()}}
}

// text is the statement about subjects.
func (s statement) text(about []subject) ([]byte, error) {
	return plainJSON(struct {
		Type          string          `json:"_type"`
		PredicateType string          `json:"predicateType"`
		Subject       []subject       `json:"subject"`
		Predicate     json.RawMessage `json:"predicate"`
	}{inTotoType, s.predicateType, about, s.predicate})
}

// plainJSON is compact JSON with <, > and & as they are.
func plainJSON(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// attestation stores the statements about an image as a manifest, which lies in the image's index and refers to it. It is
// nil where nothing is said.
func (b *build) attestation(ctx context.Context, t plan.Target, image ocispec.Descriptor, names []string) (*ocispec.Descriptor, error) {
	list, err := b.statements(ctx, t)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	about := []subject{}
	for _, name := range names {
		about = append(about, subjectOf(packageURL(name, t.Platform), image.Digest))
	}
	if len(about) == 0 {
		about = append(about, subjectOf("_", image.Digest))
	}
	m := ocispec.Manifest{Versioned: versioned, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: attestationMedia,
		Config: ocispec.DescriptorEmptyJSON, Subject: &ocispec.Descriptor{MediaType: image.MediaType, Digest: image.Digest, Size: image.Size}}
	if err := b.o.Store.PutBlob(ctx, ocispec.DescriptorEmptyJSON, bytes.NewReader(ocispec.DescriptorEmptyJSON.Data), true); err != nil {
		return nil, err
	}
	for _, s := range list {
		text, err := s.text(about)
		if err != nil {
			return nil, err
		}
		d := ocispec.Descriptor{MediaType: inTotoMedia, Digest: digest.FromBytes(text), Size: int64(len(text)),
			Annotations: map[string]string{"in-toto.io/predicate-type": s.predicateType}}
		if err := b.o.Store.PutBlob(ctx, d, bytes.NewReader(text), true); err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, d)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw)),
		Platform:    &ocispec.Platform{OS: "unknown", Architecture: "unknown"},
		Annotations: map[string]string{"vnd.docker.reference.digest": image.Digest.String(), "vnd.docker.reference.type": "attestation-manifest"}}
	return &desc, b.o.Store.PutManifest(ctx, desc, raw)
}

// packageURL names an image as package URLs do: pkg:docker/name@tag?platform=linux%2Famd64.
func packageURL(name string, p ocispec.Platform) string {
	n, err := layers.ParseName(name)
	if err != nil {
		return name
	}
	host, repo, ok := strings.Cut(n.FamiliarRepository(), "/")
	if ok {
		repo = url.QueryEscape(host) + "/" + repo
	} else {
		repo = host
	}
	version := n.Tag
	if n.Digest != "" {
		version = n.Digest.String()
	}
	return "pkg:docker/" + repo + "@" + version + "?platform=" + url.QueryEscape(plan.FormatPlatform(p))
}
