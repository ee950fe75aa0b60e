package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// imageSource finds base images in the store first, then in their registry,
// whose layers it fetches when a build needs them.
type imageSource struct {
	store  *layers.Store
	client *registry.Client

	mu     sync.Mutex // guards what follows
	remote map[digest.Digest]*registry.Remote
	found  map[string]func() (*builder.BaseImage, error) // by name and platform
}

func newImageSource(s *layers.Store, c *registry.Client) *imageSource {
	return &imageSource{store: s, client: c, remote: map[digest.Digest]*registry.Remote{}, found: map[string]func() (*builder.BaseImage, error){}}
}

// Resolve finds an image for a platform, once: a name means one image in all of a
// build.
func (i *imageSource) Resolve(ctx context.Context, name string, p ocispec.Platform, pull bool) (*builder.BaseImage, error) {
	key := fmt.Sprint(name, " ", layers.FormatPlatform(p), " ", p.OSVersion, " ", pull)
	i.mu.Lock()
	find := i.found[key]
	if find == nil {
		find = sync.OnceValues(func() (*builder.BaseImage, error) { return i.resolve(ctx, name, p, pull) })
		i.found[key] = find
	}
	i.mu.Unlock()
	return find()
}

// resolve looks in the store first; with pull the registry is asked first,
// unless the name has a digest: what is here is then what the registry would give,
// and a registry that is busy breaks no build.
func (i *imageSource) resolve(ctx context.Context, name string, p ocispec.Platform, pull bool) (*builder.BaseImage, error) {
	if !pull || strings.Contains(name, "@") {
		img, err := i.store.Resolve(name, &p)
		if err == nil {
			return &builder.BaseImage{Name: name, Digest: img.ID, Config: img.Config, Chain: img.Chain}, nil
		}
		if !errors.Is(err, layers.ErrNotFound) {
			return nil, err
		}
	}
	n, err := layers.ParseName(name)
	if err != nil {
		return nil, err
	}
	r, err := i.client.Resolve(ctx, name, &p)
	if err != nil {
		if img := i.only(name); img != nil && !pull && ctx.Err() == nil {
			return &builder.BaseImage{Name: name, Digest: img.ID, Config: img.Config, Chain: img.Chain}, nil
		}
		return nil, registryHint(err, n)
	}
	id := r.Manifest.Config.Digest
	i.mu.Lock()
	i.remote[id] = r
	i.mu.Unlock()
	return &builder.BaseImage{Name: name, Digest: id, Config: r.Config, Chain: r.Chain}, nil
}

// only is the image of a name that means one image and no index of platforms: it stands in for another platform, with a
// warning of the linter, as it does when a registry has it.
func (i *imageSource) only(name string) *layers.Image {
	d, err := i.store.ResolveDescriptor(name)
	if err != nil || d.MediaType == ocispec.MediaTypeImageIndex || d.MediaType == layers.DockerIndex {
		return nil
	}
	img, err := i.store.Resolve(name, nil)
	if err != nil {
		return nil
	}
	return img
}

// Fetch brings the layers of an image that came from a registry, and those of one in the store that were left elsewhere.
func (i *imageSource) Fetch(ctx context.Context, image *builder.BaseImage) error {
	if r := i.remotely(image); r != nil {
		_, err := i.client.Fetch(ctx, i.store, r)
		return err
	}
	img, err := i.store.Resolve(string(image.Digest), nil)
	if err != nil {
		return err
	}
	return i.client.Complete(ctx, i.store, img)
}

// Origins says where the layers of an image are that are not in the store.
func (i *imageSource) Origins(image *builder.BaseImage) []layers.Origin {
	if r := i.remotely(image); r != nil {
		return r.Origins()
	}
	img, err := i.store.Resolve(string(image.Digest), nil)
	if err != nil {
		return nil
	}
	return i.store.Missing(img)
}

// remotely is an image that was resolved in its registry, else nil.
func (i *imageSource) remotely(image *builder.BaseImage) *registry.Remote {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.remote[image.Digest]
}
