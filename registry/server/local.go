package server

import (
	"context"
	"errors"
	"slices"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// local shows the images that have names in the store as repositories that can be
// read: docker.io/library/app:1 as library/app and as app, host/team/app:1 as
// team/app. A repository shows the blobs of its own images and no others.
type local struct{ store *layers.Store }

// repositoriesOf are the paths under which a name is shown.
func repositoriesOf(n layers.Name) []string {
	short := n.FamiliarRepository()
	if n.Registry == layers.DefaultRegistry && short != n.Repository && layers.ValidRepository(short) {
		return []string{n.Repository, short}
	}
	return []string{n.Repository}
}

// names lists the store's names that a repository shows.
func (l local) names(ctx context.Context, repo string) ([]layers.Reference, error) {
	refs, err := l.store.References(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(refs, func(r layers.Reference) bool {
		n, err := layers.ParseName(r.Name)
		return err != nil || n.Tag == "" || !slices.Contains(repositoriesOf(n), repo)
	}), nil
}

// repositories lists all paths.
func (l local) repositories(ctx context.Context) ([]string, error) {
	refs, err := l.store.References(ctx)
	if err != nil {
		return nil, err
	}
	var repos []string
	for _, r := range refs {
		if n, err := layers.ParseName(r.Name); err == nil && n.Tag != "" {
			repos = append(repos, repositoriesOf(n)...)
		}
	}
	return repos, nil
}

// tags lists the tags of a repository.
func (l local) tags(ctx context.Context, repo string) ([]string, error) {
	refs, err := l.names(ctx, repo)
	var tags []string
	for _, r := range refs {
		if n, err := layers.ParseName(r.Name); err == nil {
			tags = append(tags, n.Tag)
		}
	}
	return tags, err
}

// manifest finds a manifest by tag or digest; the manifest of an image that has
// none yet is made on the first request.
func (l local) manifest(ctx context.Context, repo, ref string) (ocispec.Descriptor, error) {
	refs, err := l.names(ctx, repo)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, r := range refs {
		n, err := layers.ParseName(r.Name)
		if err != nil || digest.Digest(ref).Validate() != nil && n.Tag != ref {
			continue
		}
		desc, err := l.target(ctx, r)
		if err != nil {
			return desc, err
		}
		if n.Tag == ref || string(desc.Digest) == ref {
			return desc, nil
		}
		if child, ok := l.child(desc, digest.Digest(ref), map[digest.Digest]bool{}); ok {
			return child, nil
		}
	}
	return ocispec.Descriptor{}, layers.ErrNotFound
}

// target is the manifest or index of a name.
func (l local) target(ctx context.Context, r layers.Reference) (ocispec.Descriptor, error) {
	if raw, err := l.store.ReadManifest(r.Target.Digest); err == nil {
		if m, err := layers.ParseManifest("", raw); err == nil && m.IsIndex() {
			return ocispec.Descriptor{MediaType: m.MediaType, Digest: r.Target.Digest, Size: int64(len(raw))}, nil
		}
	}
	img, err := l.store.Resolve(r.Name, nil)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if len(l.store.Missing(img)) > 0 { // they were left in another registry: who asks there gets them
		return ocispec.Descriptor{}, layers.ErrNotFound
	}
	desc, _, err := l.store.Manifest(ctx, img, layers.ManifestForm{})
	return desc, err
}

// child finds a manifest below an index.
func (l local) child(desc ocispec.Descriptor, d digest.Digest, seen map[digest.Digest]bool) (ocispec.Descriptor, bool) {
	if seen[desc.Digest] {
		return desc, false
	}
	seen[desc.Digest] = true
	raw, err := l.store.ReadManifest(desc.Digest)
	if err != nil {
		return desc, false
	}
	m, err := layers.ParseManifest(desc.MediaType, raw)
	if err != nil {
		return desc, false
	}
	for _, c := range m.Manifests {
		if c.Digest == d {
			return c, true
		}
		if found, ok := l.child(c, d, seen); ok {
			return found, true
		}
	}
	return desc, false
}

// shows tells whether an image of a repository has a blob.
func (l local) shows(ctx context.Context, repo string, d digest.Digest) (bool, error) {
	refs, err := l.names(ctx, repo)
	if err != nil {
		return false, err
	}
	for _, r := range refs {
		desc, err := l.target(ctx, r)
		if errors.Is(err, layers.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		if l.below(desc, d, map[digest.Digest]bool{}) {
			return true, nil
		}
	}
	return false, nil
}

func (l local) below(desc ocispec.Descriptor, d digest.Digest, seen map[digest.Digest]bool) bool {
	if desc.Digest == d {
		return true
	}
	if seen[desc.Digest] {
		return false
	}
	seen[desc.Digest] = true
	raw, err := l.store.ReadManifest(desc.Digest)
	if err != nil {
		return false
	}
	m, err := layers.ParseManifest(desc.MediaType, raw)
	if err != nil {
		return false
	}
	has := func(b ocispec.Descriptor) bool { return b.Digest == d }
	return !m.IsIndex() && (has(m.Config) || slices.ContainsFunc(m.Layers, has)) ||
		slices.ContainsFunc(m.Manifests, func(c ocispec.Descriptor) bool { return l.below(c, d, seen) })
}
