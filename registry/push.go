package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/compress"
	"github.com/hodbuild/hod/registry/transfer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// PushOptions say in which form an image is pushed.
type PushOptions struct {
	Form     layers.ManifestForm
	Platform *ocispec.Platform // of an image of many platforms, only this one
	// Recheck asks for each blob, though the registry has the manifest: one that lost
	// blobs gets them again.
	Recheck bool
}

// Push sends what a local name means to the registry of that name: blobs first,
// then manifests, then the tag. What the registry has is not sent again.
func (c *Client) Push(ctx context.Context, store *layers.Store, ref string, o PushOptions) (ocispec.Descriptor, error) {
	return c.PushAs(ctx, store, ref, ref, o)
}

// PushAs pushes a local image under another name.
func (c *Client) PushAs(ctx context.Context, store *layers.Store, local, remote string, o PushOptions) (ocispec.Descriptor, error) {
	n, err := layers.ParseName(remote)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	asked, there := ocispec.Descriptor{}, false
	if local == remote && !o.Recheck {
		if asked, there, err = c.unchanged(ctx, store, n, o); err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("push %s: %w", n.Familiar(), err)
		}
	}
	if there {
		return asked, nil
	}
	images, err := store.ImageRecords(ctx)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("push %s: %w", n.Familiar(), err)
	}
	seen, err := seenIn(ctx, store, images, n)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("push %s: %w", n.Familiar(), err)
	}
	away := awayFrom(store, images)
	for d := range away {
		seen.add(d, away.in(n, d)...)
	}
	s, err := c.dial(n, toPush, seen.repositories()...)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("push %s: %w", n.Familiar(), err)
	}
	p := &pushing{session: s, store: store, name: n, absent: asked.Digest, recheck: o.Recheck, seen: seen, away: away, grown: map[digest.Digest]bool{}, sent: map[digest.Digest]bool{}, slots: make(chan struct{}, c.o.Jobs)}
	desc, err := p.push(ctx, local, o)
	if err == nil && len(away) > 0 {
		err = p.remember(ctx, local, o)
	}
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("push %s: %w", n.Familiar(), err)
	}
	return desc, nil
}

// pushing is one push.
type pushing struct {
	*session
	store *layers.Store
	name  layers.Name
	// absent is what the registry's name does not mean, as far as that was asked.
	absent  digest.Digest
	recheck bool // a manifest that is there does not speak for its blobs
	seen    sightings
	away    elsewhere
	link    []string               // repositories that may have every blob
	root    digest.Digest          // what the name means, where it is the origin of a copy
	raw     []byte                 // the manifest of that
	slots   chan struct{}          // bounds the uploads; asking whether a blob exists costs none
	sent    map[digest.Digest]bool // manifests below an index that are there

	mu    sync.Mutex             // guards grown
	grown map[digest.Digest]bool // blobs that were sent while they were made
}

func (p *pushing) push(ctx context.Context, local string, o PushOptions) (ocispec.Descriptor, error) {
	target, err := p.store.ResolveDescriptor(local)
	if errors.Is(err, layers.ErrNotFound) {
		target, err = ocispec.Descriptor{}, nil // perhaps an image ID
	}
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if raw, m, ok := p.complete(target); ok && o.Platform == nil && !o.Form.Force {
		return target, p.tree(ctx, target, raw, m, tagOf(p.name, target))
	}
	img, err := p.store.Resolve(local, o.Platform)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if o.Form.Compression.Algorithm == "" {
		o.Form.Compression = compress.Spec{Algorithm: compress.Gzip}
	}
	if (target.MediaType == ocispec.MediaTypeImageIndex || target.MediaType == layers.DockerIndex) && o.Platform == nil {
		p.c.event(Event{Action: "note", Text: fmt.Sprintf("of the platforms of %s only %s is pushed: %s", p.name.Familiar(), layers.FormatPlatform(img.Platform), whyOne(o.Form))})
	}
	if err := p.compress(ctx, img, o.Form); err != nil {
		return ocispec.Descriptor{}, err
	}
	desc, raw, err := p.store.Manifest(ctx, img, o.Form)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	m, err := layers.ParseManifest(desc.MediaType, raw)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return desc, p.tree(ctx, desc, raw, m, tagOf(p.name, desc))
}

// whyOne says why a push of an index is one of a single image.
func whyOne(f layers.ManifestForm) string {
	if f.Force {
		return "another compression is made for one platform at a time"
	}
	return "not all of the others are here"
}

// compress makes and sends those layers at once that have no compressed form yet.
func (p *pushing) compress(ctx context.Context, img *layers.Image, f layers.ManifestForm) error {
	g, gctx := errgroup.WithContext(ctx)
	done := map[digest.Digest]bool{}
	for _, d := range img.Chain {
		info, err := p.store.Layer(d)
		if errors.Is(err, layers.ErrNotFound) && len(img.Origins) > 0 {
			continue
		}
		if err != nil {
			return err
		}
		foreign := info.Packed == "" && len(info.Blobs) > 0
		if _, err := p.store.KnownForm(d, f.Compression); err == nil || done[d] || foreign || f.Force {
			continue
		}
		done[d] = true
		g.Go(func() error { return p.grow(gctx, d, f.Compression) })
	}
	return g.Wait()
}

// grow compresses a layer and uploads it at the same time.
func (p *pushing) grow(ctx context.Context, diffID digest.Digest, spec compress.Spec) error {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	form, err := p.store.Compressing(ctx, diffID, spec)
	if err != nil {
		return err
	}
	defer form.Close()
	if err = p.uploadGrowing(ctx, string(diffID), form); err != nil {
		return err
	}
	desc, err := form.Wait(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.grown[desc.Digest] = true
	return nil
}

// uploadGrowing uploads a form while it is made. As soon as it is whole, which may be long
// before it is sent, its blob's key is one of the journal's.
func (p *pushing) uploadGrowing(ctx context.Context, id string, form *layers.Growing) error {
	l, err := p.writer(ctx)
	if err != nil {
		return err
	}
	j, whole := &journal{}, make(chan struct{})
	wait, cancel := context.WithCancel(ctx)
	go func() {
		defer close(whole)
		if desc, err := form.Wait(wait); err == nil && desc.Size > transfer.SmallBlob {
			_ = j.open(p.store, journalKey(l, string(desc.Digest)))
		}
	}()
	err = p.uploadWith(ctx, id, &transfer.Upload{Content: growing{form}}, j)
	cancel()
	<-whole
	return j.end(err)
}

// growing is the content of a form in the making.
type growing struct{ *layers.Growing }

func (g growing) Open(ctx context.Context, off int64) (io.ReadCloser, error) {
	return io.NopCloser(g.From(ctx, off)), nil
}

func (g growing) Whole(ctx context.Context) (ocispec.Descriptor, error) { return g.Wait(ctx) }

// complete reads a manifest or index if the store has all the bytes that it
// names, so that it can be pushed as it came.
func (p *pushing) complete(d ocispec.Descriptor) ([]byte, *layers.Manifest, bool) {
	return p.completeBelow(d, map[digest.Digest]bool{})
}

// completeBelow looks at each manifest once: those that are seen were complete, or
// nobody would look further.
func (p *pushing) completeBelow(d ocispec.Descriptor, seen map[digest.Digest]bool) ([]byte, *layers.Manifest, bool) {
	if d.Digest == "" {
		return nil, nil, false
	}
	seen[d.Digest] = true
	raw, err := p.store.ReadManifest(d.Digest)
	if err != nil {
		return nil, nil, false
	}
	m, err := layers.ParseManifest(d.MediaType, raw)
	if err != nil {
		return nil, nil, false
	}
	for _, c := range m.Manifests {
		if seen[c.Digest] {
			continue
		}
		if _, _, ok := p.completeBelow(c, seen); !ok {
			return nil, nil, false
		}
	}
	for _, b := range blobsOf(m) {
		_, away := p.away[b.Digest]
		if _, err := p.store.StatBlob(b.Digest); err != nil && !away && !isForeign(b.MediaType) {
			return nil, nil, false
		}
	}
	return raw, m, true
}

// blobsOf lists the blobs that a manifest names, each once.
func blobsOf(m *layers.Manifest) []ocispec.Descriptor {
	if m.IsIndex() {
		return nil
	}
	var list []ocispec.Descriptor
	for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		same := func(o ocispec.Descriptor) bool { return o.Digest == d.Digest }
		if !slices.ContainsFunc(list, same) && !isForeign(d.MediaType) {
			list = append(list, d)
		}
	}
	return list
}

// tree pushes what a manifest names, then the manifest.
func (p *pushing) tree(ctx context.Context, d ocispec.Descriptor, raw []byte, m *layers.Manifest, ref string) error {
	for _, c := range m.Manifests {
		if p.sent[c.Digest] {
			continue
		}
		childRaw, child, ok := p.complete(c)
		if !ok {
			return fmt.Errorf("the store has no whole copy of %s", c.Digest)
		}
		if err := p.tree(ctx, c, childRaw, child, string(c.Digest)); err != nil {
			return err
		}
		p.sent[c.Digest] = true
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4 * p.c.o.Jobs)
	there := false
	if m.Subject == nil && d.Digest != p.absent && !p.recheck { // one that refers may be missing from the list of its subject
		g.Go(func() (err error) {
			there, err = p.names(gctx, ref, d.Digest)
			return err
		})
	}
	for _, b := range blobsOf(m) {
		if p.grown[b.Digest] { // nobody writes it now
			continue
		}
		p.c.event(Event{ID: string(b.Digest), Action: "waiting", Total: b.Size})
		g.Go(func() error {
			u, err := p.blob(b)
			if err != nil {
				return err
			}
			return p.upload(gctx, string(b.Digest), u)
		})
	}
	if err := g.Wait(); err != nil || there {
		return err
	}
	return p.put(ctx, ref, d, raw)
}

// names tells whether a reference of the repository is that manifest already.
func (s *session) names(ctx context.Context, ref string, d digest.Digest) (bool, error) {
	l, err := s.writer(ctx)
	if err != nil {
		return false, err
	}
	resp, err := l.Do(ctx, http.MethodHead, l.Path("manifests/%s", ref), http.Header{"Accept": {accept}}, nil, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return false, err
	}
	same := resp.StatusCode == http.StatusOK && (ref == string(d) || resp.Header.Get("Docker-Content-Digest") == string(d))
	return same, resp.Body.Close()
}

// upload sends one blob, with a journal unless another process has that. id is what
// the blob is called while nobody knows its digest.
func (p *pushing) upload(ctx context.Context, id string, u *transfer.Upload) error {
	j := &journal{}
	return j.end(p.uploadWith(ctx, id, u, j))
}

func (p *pushing) uploadWith(ctx context.Context, id string, u *transfer.Upload, j *journal) (err error) {
	if u.Line, err = p.writer(ctx); err != nil {
		return err
	}
	u.Event = func(s transfer.Step) {
		p.c.event(Event{ID: id, Action: s.Action, Current: s.Sent, Total: s.Size})
	}
	u.OpenJournal = func() (transfer.Journal, error) { return j, j.open(p.store, journalKey(u.Line, id)) }
	_, err = u.Run(ctx)
	return err
}

// journalKey names the upload of a blob, or layer, to where is pushed.
func journalKey(l *transfer.Line, id string) string {
	return "upload " + l.Base + "/" + l.Repository + "@" + id
}
