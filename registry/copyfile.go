package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/archive"
	"github.com/hodbuild/hod/registry/transfer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutOrigin is an image of an OCI layout, in a folder or an archive.
type layoutOrigin struct {
	src    *archive.Source
	target ocispec.Descriptor
}

// pick finds an item by its tag or name; without one there may be only one.
func pick(src *archive.Source, tag string) (archive.Item, error) {
	var named []archive.Item
	for _, item := range src.Items() {
		if tag == "" && len(item.Names) > 0 {
			named = append(named, item)
		}
		for _, name := range item.Names {
			n, err := layers.ParseName(name)
			if name == tag || err == nil && tag != "" && (n.Tag == tag || n.Familiar() == tag || n.String() == tag) {
				return item, nil
			}
		}
	}
	all := src.Items()
	switch {
	case tag != "":
		return archive.Item{}, fmt.Errorf("it has no image %q", tag)
	case len(all) == 1:
		return all[0], nil
	case len(named) == 1:
		return named[0], nil
	}
	return archive.Item{}, fmt.Errorf("it has %d images: name one by its tag", len(all))
}

func (o layoutOrigin) root(context.Context) (ocispec.Descriptor, error) { return o.target, nil }

func (o layoutOrigin) document(_ context.Context, d ocispec.Descriptor) ([]byte, error) {
	return o.src.Read(d)
}

func (o layoutOrigin) content(d ocispec.Descriptor) transfer.Content { return layoutContent{o.src, d} }

// referrers looks through the layout's list for manifests with that subject.
func (o layoutOrigin) referrers(_ context.Context, d digest.Digest) ([]tagged, error) {
	var list []tagged
	for _, item := range o.src.Items() {
		if item.Target.Digest == "" || item.Target.Digest == o.target.Digest {
			continue
		}
		raw, err := o.src.Read(item.Target)
		if err != nil {
			continue // that one is not asked for
		}
		m, err := layers.ParseManifest(item.Target.MediaType, raw)
		if err == nil && m.Subject != nil && m.Subject.Digest == d {
			list = append(list, tagged{Descriptor: item.Target})
		}
	}
	return list, nil
}

// layoutContent is a blob of a layout, verified when it is read from its start.
type layoutContent struct {
	src  *archive.Source
	desc ocispec.Descriptor
}

func (c layoutContent) Open(_ context.Context, off int64) (io.ReadCloser, error) {
	r, err := c.src.Blob(c.desc)
	if err != nil || off == 0 {
		return r, err
	}
	if _, err := io.CopyN(io.Discard, r, off); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (c layoutContent) Whole(context.Context) (ocispec.Descriptor, error) { return c.desc, nil }

// layoutDestination writes into a layout.
type layoutDestination struct {
	c    *Client
	sink *archive.Sink
	as   *archive.Name // the name in it, if it has one
	seal func() error
}

func (d *layoutDestination) has(context.Context, ocispec.Descriptor, bool) (bool, error) {
	return false, nil
}

func (d *layoutDestination) blob(ctx context.Context, b ocispec.Descriptor, c transfer.Content) error {
	id := string(b.Digest)
	if d.sink.Has(b.Digest) {
		d.c.event(Event{ID: id, Action: "exists", Current: b.Size, Total: b.Size})
		return nil
	}
	r, err := c.Open(ctx, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	e := Event{ID: id, Action: "download", Total: b.Size}
	err = d.sink.Put(b, &counting{r, func(n int) {
		e.Current += int64(n)
		d.c.event(e)
	}})
	if err == nil {
		d.c.event(Event{ID: id, Action: "done", Current: b.Size, Total: b.Size})
	}
	return err
}

type counting struct {
	r    io.Reader
	each func(int)
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.each(n)
	return n, err
}

// WriteTo lets what is read decide how it is written.
func (c *counting) WriteTo(w io.Writer) (int64, error) {
	if from, ok := c.r.(io.WriterTo); ok {
		return from.WriteTo(&countingWriter{w, c.each})
	}
	return io.Copy(w, struct{ io.Reader }{c})
}

type countingWriter struct {
	w    io.Writer
	each func(int)
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.each(n)
	return n, err
}

func (d *layoutDestination) document(desc ocispec.Descriptor, raw []byte) error {
	return d.sink.Put(desc, bytesReader(raw))
}

// manifest lists what nothing but its subject leads to.
func (d *layoutDestination) manifest(_ context.Context, t tagged, raw []byte, m *layers.Manifest) error {
	if err := d.document(t.Descriptor, raw); err != nil {
		return err
	}
	switch {
	case t.tag != "":
		d.sink.Add(t.Descriptor, archive.Name{Full: t.tag, Ref: t.tag})
	case m.Subject != nil:
		t.ArtifactType, t.Annotations = m.ArtifactType, nil
		d.sink.Add(t.Descriptor)
	}
	return nil
}

func (d *layoutDestination) name(_ context.Context, desc ocispec.Descriptor, raw []byte, m *layers.Manifest) error {
	if err := d.document(desc, raw); err != nil {
		return err
	}
	if d.as == nil {
		d.sink.Add(desc)
	} else {
		d.sink.Add(desc, *d.as)
	}
	if !m.IsIndex() {
		d.docker(m)
	}
	return errors.Join(d.sink.Close(), d.seal())
}

// docker lists an image for readers of Docker's archives.
func (d *layoutDestination) docker(m *layers.Manifest) {
	if m.Config.MediaType != ocispec.MediaTypeImageConfig && m.Config.MediaType != layers.DockerConfig {
		return
	}
	var blobs []digest.Digest
	for _, l := range m.Layers {
		blobs = append(blobs, l.Digest)
	}
	var tags []string
	if d.as != nil {
		if n, err := layers.ParseName(d.as.Full); err == nil && n.Tag != "" {
			tags = []string{n.Familiar()}
		}
	}
	d.sink.AddDocker(m.Config.Digest, blobs, tags)
}
