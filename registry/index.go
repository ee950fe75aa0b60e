package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/transfer"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// memberSource is the annotation by which a list that is not pushed yet remembers
// where each of its images is. It goes when the list is pushed.
const memberSource = "dev.hodbuild.source"

// List is an index that is put together here and pushed later.
type List struct {
	Members []ocispec.Descriptor
}

// ReadList reads a list that CreateList stored; layers.ErrNotFound when the name
// is none.
func ReadList(store *layers.Store, name string) (*List, []byte, error) {
	desc, err := store.ResolveDescriptor(name)
	if err != nil {
		return nil, nil, err
	}
	raw, err := store.ReadManifest(desc.Digest)
	if err != nil {
		return nil, nil, err
	}
	m, err := layers.ParseManifest(desc.MediaType, raw)
	isList := err == nil && m.IsIndex() && slices.ContainsFunc(m.Manifests, func(d ocispec.Descriptor) bool { return d.Annotations[memberSource] != "" })
	if !isList {
		return nil, nil, fmt.Errorf("%q is an image and no list that was made here: %w", name, layers.ErrNotFound)
	}
	return &List{Members: m.Manifests}, raw, nil
}

// Write stores the list under its name.
func (l *List) Write(ctx context.Context, store *layers.Store, name string) error {
	raw, err := l.encode()
	if err != nil {
		return err
	}
	desc, err := store.PutIndex(ctx, raw)
	if err != nil {
		return err
	}
	return store.Tag(ctx, name, desc)
}

// encode makes the index: Docker's where all members are Docker's.
func (l *List) encode() ([]byte, error) {
	mt := layers.DockerIndex
	if slices.ContainsFunc(l.Members, func(d ocispec.Descriptor) bool { return d.MediaType != layers.DockerManifest }) {
		mt = ocispec.MediaTypeImageIndex
	}
	return json.MarshalIndent(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mt, Manifests: l.Members}, "", "   ")
}

// Add puts an image into the list, in place of what it had from there. An index
// brings all its images.
func (l *List) Add(ctx context.Context, c *Client, store *layers.Store, ref string) error {
	n, err := layers.ParseName(ref)
	if err != nil {
		return err
	}
	found, err := c.members(ctx, n)
	var status *StatusError
	if errors.As(err, &status) && status.Status == http.StatusNotFound || errors.Is(err, ErrUnreachable) {
		if local, lerr := localMember(ctx, store, ref); lerr == nil {
			found, err = []ocispec.Descriptor{local}, nil
		}
	}
	if err != nil {
		return fmt.Errorf("add %s: %w", n.Familiar(), err)
	}
	for _, d := range found {
		l.Members = slices.DeleteFunc(l.Members, func(o ocispec.Descriptor) bool {
			return o.Digest == d.Digest || o.Annotations[memberSource] == d.Annotations[memberSource] && len(found) == 1
		})
		l.Members = append(l.Members, d)
	}
	return nil
}

// members describes what a name in a registry means, with platforms.
func (c *Client) members(ctx context.Context, n layers.Name) ([]ocispec.Descriptor, error) {
	s, err := c.dial(n, toPull)
	if err != nil {
		return nil, err
	}
	desc, raw, m, err := s.read(ctx, refOf(n))
	if err != nil {
		return nil, err
	}
	if m.IsIndex() {
		for i := range m.Manifests {
			m.Manifests[i].Annotations = sourced(m.Manifests[i].Annotations, n.String())
		}
		return m.Manifests, nil
	}
	r := &Remote{Name: n, Desc: desc, Raw: raw, Manifest: m, session: s}
	if err := r.readConfig(ctx); err != nil {
		return nil, err
	}
	desc.Platform, desc.Annotations = &r.platform, sourced(nil, n.String())
	return []ocispec.Descriptor{desc}, nil
}

func sourced(notes map[string]string, source string) map[string]string {
	notes = maps.Clone(notes)
	if notes == nil {
		notes = map[string]string{}
	}
	notes[memberSource] = source
	return notes
}

// localMember describes an image of the store.
func localMember(ctx context.Context, store *layers.Store, ref string) (ocispec.Descriptor, error) {
	img, err := store.Resolve(ref, nil)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc, _, err := store.Manifest(ctx, img, layers.ManifestForm{})
	p := img.Platform
	return ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, Platform: &p, Annotations: sourced(nil, "store:"+ref)}, err
}

// Find gives the member that a name or digest means.
func (l *List) Find(ref string) (*ocispec.Descriptor, error) {
	n, err := layers.ParseName(ref)
	for i, d := range l.Members {
		if string(d.Digest) == ref || err == nil && (d.Digest == n.Digest || d.Annotations[memberSource] == n.String() || d.Annotations[memberSource] == "store:"+ref) {
			return &l.Members[i], nil
		}
	}
	return nil, fmt.Errorf("the list has no %q: %w", ref, layers.ErrNotFound)
}

// Push sends the list and those of its images that the repository does not have.
func (l *List) Push(ctx context.Context, c *Client, store *layers.Store, name string) (ocispec.Descriptor, error) {
	n, err := layers.ParseName(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	final := &List{Members: slices.Clone(l.Members)}
	for i, d := range final.Members {
		if err := c.bring(ctx, store, n, d); err != nil {
			return ocispec.Descriptor{}, err
		}
		notes := maps.Clone(d.Annotations)
		if delete(notes, memberSource); len(notes) == 0 {
			notes = nil
		}
		final.Members[i].Annotations = notes
	}
	raw, err := final.encode()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	m, err := layers.ParseManifest("", raw)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	return desc, c.PutManifest(ctx, name, desc, raw)
}

// bring makes a member one of the repository.
func (c *Client) bring(ctx context.Context, store *layers.Store, n layers.Name, d ocispec.Descriptor) error {
	source := d.Annotations[memberSource]
	if source == "" {
		source = n.String()
	}
	from, err := ParsePlace(source)
	if err != nil {
		return err
	}
	n.Tag, n.Digest = "", d.Digest
	if from.Kind == "registry" {
		m, err := layers.ParseName(from.Name)
		if err != nil {
			return err
		}
		m.Tag, m.Digest = "", d.Digest
		from.Name = m.String()
		if from.Name == n.String() {
			return nil
		}
	}
	_, err = c.Copy(ctx, store, from, Place{Kind: "registry", Name: n.String()}, CopyOptions{})
	return err
}

// refer keeps the list of a subject's referrers where the registry does not, as
// the specification asks of clients.
func (s *session) refer(ctx context.Context, l *transfer.Line, subject digest.Digest, d ocispec.Descriptor, m *layers.Manifest) error {
	tag := fallbackTag(subject)
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	raw, header, err := l.Document(ctx, l.Path("manifests/%s", tag), http.Header{"Accept": {accept}}, layers.MaxManifest)
	if err == nil {
		if _, _, err = describe(tag, header, raw); err == nil {
			err = json.Unmarshal(raw, &index)
		}
	}
	if err != nil && transfer.Status(err) != http.StatusNotFound {
		return fmt.Errorf("read referrers of %s: %w", subject, err)
	}
	if slices.ContainsFunc(index.Manifests, func(o ocispec.Descriptor) bool { return o.Digest == d.Digest }) {
		return nil
	}
	kindOf := m.ArtifactType
	if kindOf == "" && !m.IsIndex() {
		kindOf = m.Config.MediaType
	}
	index.Manifests = append(index.Manifests, ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, ArtifactType: kindOf, Annotations: m.Annotations})
	if raw, err = json.Marshal(index); err != nil {
		return err
	}
	resp, err := l.Do(ctx, http.MethodPut, l.Path("manifests/%s", tag), http.Header{"Content-Type": {index.MediaType}}, transfer.Bytes(raw), http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return fmt.Errorf("write referrers of %s: %w", subject, err)
	}
	return resp.Body.Close()
}
