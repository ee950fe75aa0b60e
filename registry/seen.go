package registry

import (
	"context"
	"slices"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
)

// sightings tell in which other repositories of a registry a blob was seen, so
// that it can be linked there instead of sent. They follow from what the store
// has: an image that came from a repository, or has a name in one.
type sightings map[digest.Digest][]string

// maxSeen bounds how many repositories are asked for one blob, and how many a
// token is asked for.
const maxSeen, maxScopes = 3, 8

// seenIn looks through the store for blobs of the registry of a name.
func seenIn(ctx context.Context, store *layers.Store, images []*layers.Image, n layers.Name) (sightings, error) {
	seen := sightings{}
	for _, img := range images {
		if img.Manifest != nil {
			seen.note(store, n, img.Source, img.Manifest.Digest, map[digest.Digest]bool{})
		}
	}
	refs, err := store.References(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range refs {
		seen.note(store, n, r.Name, r.Target.Digest, map[digest.Digest]bool{})
	}
	return seen, nil
}

// note adds the blobs of a manifest, or of an index, that has a name elsewhere in
// the registry.
func (s sightings) note(store *layers.Store, n layers.Name, name string, d digest.Digest, met map[digest.Digest]bool) {
	m, err := layers.ParseName(name)
	if err != nil || m.Registry != n.Registry || m.Repository == n.Repository || met[d] {
		return
	}
	met[d] = true
	raw, err := store.ReadManifest(d)
	if err != nil {
		return
	}
	doc, err := layers.ParseManifest("", raw)
	if err != nil {
		return
	}
	for _, c := range doc.Manifests {
		s.note(store, n, name, c.Digest, met)
	}
	for _, b := range blobsOf(doc) {
		s.add(b.Digest, m.Repository)
	}
}

// add notes repositories that have a blob.
func (s sightings) add(d digest.Digest, repositories ...string) {
	for _, r := range repositories {
		if list := s[d]; len(list) < maxSeen && !slices.Contains(list, r) {
			s[d] = append(list, r)
		}
	}
}

// repositories lists whose blobs we may want to link.
func (s sightings) repositories() []string {
	var list []string
	for _, repos := range s {
		for _, r := range repos {
			if !slices.Contains(list, r) {
				list = append(list, r)
			}
		}
	}
	slices.Sort(list)
	return list[:min(len(list), maxScopes)]
}
