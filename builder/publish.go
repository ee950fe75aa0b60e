package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var versioned = specs.Versioned{SchemaVersion: 2}

// finish stores the images and writes the outputs.
func (b *build) finish(ctx context.Context) (*Result, error) {
	res := &Result{Plan: b.plan}
	outputs := b.o.Outputs
	if len(outputs) == 0 {
		outputs = []Output{{Type: "image"}}
	}
	for _, out := range outputs {
		switch {
		case out.Type == "cacheonly":
		case out.IsImage():
			if err := b.storeAll(ctx, res); err != nil {
				return nil, err
			}
			if err := b.publish(ctx, res, out); err != nil {
				return nil, err
			}
		default:
			if err := b.writeFiles(ctx, out); err != nil {
				return nil, fmt.Errorf("write output to %q: %w", out.Dest, err)
			}
		}
	}
	return res, nil
}

// storeAll puts the images of all targets into the store, once.
func (b *build) storeAll(ctx context.Context, res *Result) error {
	if len(res.Images) > 0 {
		return nil
	}
	for _, t := range b.plan.Targets {
		img, err := b.store(ctx, t)
		if err != nil {
			return err
		}
		res.Images = append(res.Images, Image{Image: img})
	}
	return nil
}

// fullNames writes names in full.
func fullNames(tags []string) ([]string, error) {
	var names []string
	for _, tag := range tags {
		n, err := layers.ParseName(tag)
		if err != nil {
			return nil, err
		}
		names = append(names, n.String())
	}
	return names, nil
}

// store puts the image of a target into the store.
func (b *build) store(ctx context.Context, t plan.Target) (*layers.Image, error) {
	st, err := b.need(ctx, t.Step)
	if err != nil {
		return nil, err
	}
	left, err := b.leave(ctx, st)
	if err != nil {
		return nil, err
	}
	chain, layer, err := b.squash(ctx, t, st.chain)
	if err != nil {
		return nil, err
	}
	config, err := t.Image.JSON(baseOf(t.Step), layer, b.created())
	if err != nil {
		return nil, err
	}
	if config, err = b.inline(t, config, chain); err != nil {
		return nil, err
	}
	return b.o.Store.PutImage(ctx, config, chain, layers.PutImageOptions{Built: time.Now(), Source: b.in.recipe.Name, Origins: left})
}

// publish names the images, and pushes them or writes them to an archive where the output says so.
func (b *build) publish(ctx context.Context, res *Result, out Output) error {
	names, err := b.names(out)
	if err != nil {
		return err
	}
	top, raw, err := b.top(ctx, res, out, names)
	if err != nil {
		return err
	}
	if raw != nil {
		res.Top = &top
	}
	if out.isArchive() {
		files, err := b.layout(top, raw, names, out)
		if err != nil {
			return err
		}
		if err := b.writeLayout(ctx, files, out); err != nil {
			return fmt.Errorf("write output to %q: %w", out.Dest, err)
		}
		return nil
	}
	if names, err = out.called(names, top); err != nil {
		return err
	}
	for _, name := range names {
		if err := b.o.Store.Tag(ctx, name, top); err != nil {
			return err
		}
	}
	for i := range res.Images {
		res.Images[i].Names = unite(res.Images[i].Names, names)
	}
	if !out.Push {
		return nil
	}
	return b.push(ctx, names)
}

// unite adds what is not there yet.
func unite(names, more []string) []string {
	for _, name := range more {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (b *build) push(ctx context.Context, names []string) error {
	if b.o.Push == nil {
		return errors.New("nothing can push: no registry client")
	}
	for _, name := range names {
		if err := b.o.Push(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// top is what a name will mean: the image's config where nothing needs a manifest, else its manifest, or the index of
// several platforms.
func (b *build) top(ctx context.Context, res *Result, out Output, names []string) (ocispec.Descriptor, []byte, error) {
	if out.Type == "image" && !out.Push && !out.Canonical && b.o.Attest.none() && len(res.Images) == 1 && len(out.Annotations) == 0 && !b.o.Index {
		img := res.Images[0]
		return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: img.ID, Size: int64(len(img.Config))}, nil, nil
	}
	index := ocispec.Index{Versioned: versioned, MediaType: ocispec.MediaTypeImageIndex, Annotations: out.annotations(OnIndex, nil)}
	if out.Form.Docker {
		index.MediaType = layers.DockerIndex
	}
	var raw []byte
	var statements []ocispec.Descriptor
	for i, img := range res.Images {
		desc, text, err := b.manifest(ctx, img, out)
		if err != nil {
			return desc, nil, err
		}
		index.Manifests, raw = append(index.Manifests, desc), text
		said, err := b.attestation(ctx, b.plan.Targets[i], desc, names)
		if err != nil {
			return desc, nil, err
		}
		if said != nil {
			statements = append(statements, *said)
		}
	}
	index.Manifests = append(index.Manifests, statements...)
	if len(index.Manifests) == 1 && !b.o.Index && !out.has(OnIndex, OnIndexDescriptor) && (out.isArchive() || !out.has(OnManifestDescriptor)) {
		top := index.Manifests[0]
		top.Platform = nil
		return top, raw, nil
	}
	raw, err := json.Marshal(index)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	top, err := b.o.Store.PutIndex(ctx, raw)
	top.Annotations = out.annotations(OnIndexDescriptor, nil)
	return top, raw, err
}

// manifest makes an image's manifest for an output, and the descriptor that leads to it.
func (b *build) manifest(ctx context.Context, img Image, out Output) (ocispec.Descriptor, []byte, error) {
	form, platform := out.Form, img.Platform
	form.Annotations = out.annotations(OnManifest, &platform)
	desc, raw, err := b.o.Store.Manifest(ctx, img.Image, form)
	desc.Platform, desc.Annotations = &platform, out.annotations(OnManifestDescriptor, &platform)
	return desc, raw, err
}

// baseOf returns the diffIDs of the image that a file system was started from.
func baseOf(s *plan.Step) []digest.Digest {
	for ; s != nil; s = s.Parent {
		if base, ok := s.Op.(plan.Base); ok {
			return base.Chain
		}
	}
	return nil
}
