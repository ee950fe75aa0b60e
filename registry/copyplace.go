package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/archive"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Place is where an image is, in the words of skopeo: a name in a registry
// ("app:1", "docker://app:1"), a folder or archive with an OCI layout
// ("oci:DIR:TAG", "oci-archive:FILE:TAG"), Docker's archive
// ("docker-archive:FILE:NAME"), or a name in the store ("store:NAME").
type Place struct {
	Kind string // "registry", "oci", "oci-archive", "docker-archive", "store"
	Path string // of a folder or file
	Name string // in a registry or the store; in a layout the tag, or empty
}

func (p Place) String() string {
	s := p.Kind + ":" + p.Path
	if p.Kind == "registry" {
		return p.Name
	}
	if p.Path != "" && p.Name != "" {
		s += ":"
	}
	return s + p.Name
}

// ParsePlace reads a place.
func ParsePlace(s string) (Place, error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "docker":
		if strings.HasPrefix(rest, "//") {
			s = strings.TrimPrefix(rest, "//")
		}
	case "store":
		_, err := layers.ParseName(rest)
		return Place{Kind: "store", Name: rest}, err
	case "oci", "oci-archive", "docker-archive":
		path, tag, _ := strings.Cut(rest, ":")
		if path == "" {
			return Place{}, fmt.Errorf("%q names no file", s)
		}
		return Place{Kind: kind, Path: path, Name: tag}, nil
	}
	n, err := layers.ParseName(s)
	return Place{Kind: "registry", Name: n.String()}, err
}

// Tagged is a tag of a place that names none: of a repository, or in a layout.
func (p Place) Tagged(tag string) Place {
	if n, err := layers.ParseName(p.Name); p.Kind == "registry" && err == nil {
		n.Tag = tag
		tag = n.String()
	}
	p.Name = tag
	return p
}

// TagsOf lists the tags of a place that names none.
func (c *Client) TagsOf(ctx context.Context, p Place) ([]string, error) {
	if p.Kind == "registry" {
		return c.Tags(ctx, p.Name)
	}
	if p.Kind == "store" {
		return nil, errors.New("list tags of the store: it has no tags without a repository")
	}
	src, err := archive.Open(p.Path)
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", p, err)
	}
	var tags []string
	for _, item := range src.Items() {
		for _, name := range item.Names {
			if n, err := layers.ParseName(name); err == nil && strings.Contains(name, ":") {
				name = n.Tag
			}
			tags = append(tags, name)
		}
	}
	return tags, src.Close()
}

// Copy brings an image from one place to another: all its platforms byte for
// byte, and what refers to them. Between registries nothing is stored here, and
// what the registry can link it is not sent.
func (c *Client) Copy(ctx context.Context, store *layers.Store, from, to Place, o CopyOptions) (ocispec.Descriptor, error) {
	desc, err := c.copy(ctx, store, from, to, o)
	if err != nil {
		err = fmt.Errorf("copy %s to %s: %w", from, to, err)
	}
	return desc, err
}

func (c *Client) copy(ctx context.Context, store *layers.Store, from, to Place, o CopyOptions) (ocispec.Descriptor, error) {
	switch {
	case from.Kind == "store":
		return c.copyFromStore(ctx, store, from, to, o)
	case to.Kind == "store" && from.Kind == "registry":
		return c.pullPlatforms(ctx, store, from.Name, to.Name, o.Platforms)
	case to.Kind == "store":
		return loadTo(ctx, store, from, to.Name)
	}
	src, closing, err := c.originOf(ctx, store, from)
	if errors.Is(err, errNoManifest) { // only the store can make one
		return c.copyByStore(ctx, store, from, to, o)
	}
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer closing()
	dst, abort, err := c.destinationOf(store, from, to)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer abort()
	run := &copying{c: c, from: src, to: dst, o: o}
	return run.run(ctx)
}

// errNoManifest is an image of Docker's older archives.
var errNoManifest = errors.New("the archive's image has no manifest")

func (c *Client) originOf(ctx context.Context, store *layers.Store, p Place) (origin, func(), error) {
	if p.Kind == "registry" {
		n, err := layers.ParseName(p.Name)
		if err != nil {
			return nil, nil, err
		}
		s, err := c.dial(n, toPull)
		return remote{&pushing{session: s, store: store, name: n}}, func() {}, err
	}
	src, err := archive.Open(p.Path)
	if err != nil {
		return nil, nil, err
	}
	item, err := pick(src, p.Name)
	if err == nil && item.Target.Digest == "" {
		err = errNoManifest
	}
	if err != nil {
		src.Close()
		return nil, nil, err
	}
	return layoutOrigin{src, ocispec.Descriptor{MediaType: item.Target.MediaType, Digest: item.Target.Digest, Size: item.Target.Size}}, func() { src.Close() }, nil
}

func (c *Client) destinationOf(store *layers.Store, from, to Place) (destination, func(), error) {
	if to.Kind != "registry" {
		d, abort, err := c.layoutTo(to)
		return d, abort, err
	}
	n, err := layers.ParseName(to.Name)
	if err != nil {
		return nil, nil, err
	}
	var link []string
	seen := sightings{}
	if m, err := layers.ParseName(from.Name); err == nil && from.Kind == "registry" && m.Registry == n.Registry && m.Repository != n.Repository {
		link = []string{m.Repository}
	}
	s, err := c.dial(n, toPush, link...)
	p := &pushing{session: s, store: store, name: n, seen: seen, slots: make(chan struct{}, c.o.Jobs)}
	return remote{p}.linking(link), func() {}, err
}

// linking makes every blob one that may be linked from some repositories.
func (r remote) linking(from []string) destination {
	r.pushing.link = from
	return r
}

// layoutTo opens a layout to write into. What it gives back is called in the end
// and takes away what is not whole.
func (c *Client) layoutTo(p Place) (*layoutDestination, func(), error) {
	d := &layoutDestination{c: c, seal: func() error { return nil }}
	if p.Name != "" {
		d.as = &archive.Name{Full: p.Name, Ref: p.Name}
	}
	if p.Kind == "oci" {
		sink, err := archive.UpdateFolder(p.Path)
		d.sink = sink
		return d, func() {}, err
	}
	if p.Kind == "docker-archive" && p.Name != "" {
		n, err := layers.ParseName(p.Name)
		if err != nil {
			return nil, nil, err
		}
		d.as = &archive.Name{Full: n.String(), Ref: n.Familiar()}
	}
	f, err := os.CreateTemp(filepath.Dir(p.Path), ".hod-copy-")
	if err != nil {
		return nil, nil, err
	}
	d.sink = archive.NewTar(f)
	d.seal = func() error {
		return errors.Join(f.Chmod(0o644), f.Close(), os.Rename(f.Name(), p.Path))
	}
	return d, func() { f.Close(); os.Remove(f.Name()) }, nil
}

// copyFromStore pushes or saves.
func (c *Client) copyFromStore(ctx context.Context, store *layers.Store, from, to Place, o CopyOptions) (ocispec.Descriptor, error) {
	if len(o.Platforms) > 1 {
		return ocispec.Descriptor{}, errors.New("from the store one platform is copied, or all that are here")
	}
	var p *ocispec.Platform
	if len(o.Platforms) == 1 {
		p = &o.Platforms[0]
	}
	switch to.Kind {
	case "registry":
		return c.PushAs(ctx, store, from.Name, to.Name, PushOptions{Platform: p})
	case "store":
		target, err := store.ResolveDescriptor(from.Name)
		if err == nil {
			err = store.Tag(ctx, to.Name, target)
		}
		return target, err
	}
	return c.saveTo(ctx, store, from.Name, to, p)
}

// saveTo saves an image of the store. Without a name for it in the archive it keeps
// the one that it has, unless that was only for the detour.
func (c *Client) saveTo(ctx context.Context, store *layers.Store, name string, to Place, p *ocispec.Platform) (ocispec.Descriptor, error) {
	images, err := store.Meant(name, p)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, img := range images {
		if err := c.Complete(ctx, store, img); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	d, abort, err := c.layoutTo(to)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer abort()
	var as []archive.Name
	if d.as != nil {
		as = []archive.Name{*d.as}
	} else if n, err := layers.ParseName(name); err == nil && n.Digest == "" && !strings.HasPrefix(name, detour) {
		as = []archive.Name{{Full: n.String(), Ref: n.Familiar()}}
	}
	target, err := store.SaveAs(ctx, d.sink, name, as, p)
	if err != nil {
		return target, err
	}
	return target, errors.Join(d.sink.Close(), d.seal())
}

// detour begins the names of images that are in the store on their way only.
const detour = "hod.copy/"

// loadTo loads an archive's image under a name.
func loadTo(ctx context.Context, store *layers.Store, from Place, to string) (ocispec.Descriptor, error) {
	var none ocispec.Descriptor
	src, err := archive.Open(from.Path)
	if err != nil {
		return none, err
	}
	defer src.Close()
	item, err := pick(src, from.Name)
	if err != nil {
		return none, err
	}
	list, err := store.LoadItem(ctx, src, item)
	if err != nil {
		return none, err
	}
	return list.Target, store.Tag(ctx, to, list.Target)
}

// copyByStore makes a detour through the store, under a name that goes again.
func (c *Client) copyByStore(ctx context.Context, store *layers.Store, from, to Place, o CopyOptions) (desc ocispec.Descriptor, err error) {
	name := detour + digest.FromString(from.String() + to.String()).Encoded()[:32]
	if _, err = loadTo(ctx, store, from, name); err != nil {
		return desc, err
	}
	defer func() { err = errors.Join(err, store.Untag(context.WithoutCancel(ctx), name)) }()
	return c.copyFromStore(ctx, store, Place{Kind: "store", Name: name}, to, o)
}

func bytesReader(raw []byte) io.Reader { return bytes.NewReader(raw) }
