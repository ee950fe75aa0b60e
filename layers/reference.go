package layers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Reference is a name for a manifest, an index, or the config of an image that
// has no manifest yet.
type Reference struct {
	Name    string             `json:"name"` // full: docker.io/library/x:latest
	Target  ocispec.Descriptor `json:"target"`
	Created time.Time          `json:"created"`
}

// refPath files a reference under the digest of its name: names may be longer
// than a file name, and have slashes.
func (s *Store) refPath(n Name) string { return s.path("images/refs", refFile(n.key())) }

func refFile(name string) string { return digest.Canonical.FromString(name).Encoded() }

// Tag makes name mean target, whatever it meant before. What target is made of
// must be in the store; it is durable, and so is the name, when Tag returns.
func (s *Store) Tag(ctx context.Context, name string, target ocispec.Descriptor) error {
	if err := s.tag(ctx, name, target); err != nil {
		return fmt.Errorf("tag %q: %w", name, err)
	}
	return nil
}

func (s *Store) tag(ctx context.Context, name string, target ocispec.Descriptor) error {
	n, err := ParseName(name)
	if err != nil {
		return err
	}
	if err := s.keepTarget(ctx, target.Digest, map[digest.Digest]bool{}, 0); err != nil {
		return err
	}
	ref := Reference{Name: n.key(), Target: plain(target), Created: s.o.Now().UTC()}
	data, err := json.Marshal(ref)
	if err != nil {
		return err
	}
	return s.writeRecord(s.refPath(n), data, true)
}

// plain is a descriptor without what belongs to the place where it was found.
func plain(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, ArtifactType: d.ArtifactType, Platform: d.Platform}
}

// Untag removes a name, durably; ErrNotFound when there is none. What it named
// stays until a collection.
func (s *Store) Untag(ctx context.Context, name string) error {
	n, err := ParseName(name)
	if err == nil {
		err = removeRecord(s.refPath(n))
	}
	if err != nil {
		return fmt.Errorf("untag %q: %w", name, err)
	}
	return nil
}

// ResolveDescriptor gives what a name means, without choosing a platform.
func (s *Store) ResolveDescriptor(name string) (ocispec.Descriptor, error) {
	n, err := ParseName(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	ref, err := s.reference(n)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("resolve %q: %w", name, err)
	}
	return ref.Target, nil
}

func (s *Store) reference(n Name) (Reference, error) {
	ref, err := readReference(s.refPath(n))
	if errors.Is(err, ErrNotFound) && n.Digest != "" {
		return s.referenceByDigest(n)
	}
	return ref, err
}

func readReference(path string) (Reference, error) {
	var ref Reference
	data, err := readRecord(path)
	if err != nil {
		return ref, err
	}
	err = json.Unmarshal(data, &ref)
	if err == nil {
		err = validDigest(ref.Target.Digest)
	}
	if file := filepath.Base(path); err == nil && file != refFile(ref.Name) {
		err = fmt.Errorf("it says that it is %q", ref.Name)
	}
	if err != nil {
		return ref, fmt.Errorf("read reference %.12s…: %w: %w", filepath.Base(path), ErrDamaged, err)
	}
	return ref, nil
}

// referenceByDigest finds repo@digest among the tags of repo.
func (s *Store) referenceByDigest(n Name) (Reference, error) {
	refs, err := s.References(context.Background())
	if err != nil {
		return Reference{}, err
	}
	for _, r := range refs {
		m, err := ParseName(r.Name)
		if err == nil && m.Registry == n.Registry && m.Repository == n.Repository && r.Target.Digest == n.Digest {
			return r, nil
		}
	}
	return Reference{}, ErrNotFound
}

// References lists all names, sorted.
func (s *Store) References(ctx context.Context) ([]Reference, error) {
	entries, err := os.ReadDir(s.path("images/refs"))
	if err != nil {
		return nil, fmt.Errorf("list references: %w", err)
	}
	refs := make([]Reference, 0, len(entries))
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ref, err := readReference(s.path("images/refs", e.Name()))
		if errors.Is(err, ErrNotFound) { // untagged meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list references: %w", err)
		}
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b Reference) int { return cmp.Compare(a.Name, b.Name) })
	return refs, nil
}
