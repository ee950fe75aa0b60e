package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/compress"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// PushOptions say in which form an image is pushed.
type PushOptions struct {
	Form layers.ManifestForm
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
	s, err := c.dial(ctx, n, true)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("push %s: %w", n.Familiar(), err)
	}
	desc, err := s.push(ctx, store, local, n, o)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("push %s: %w", n.Familiar(), err)
	}
	return desc, nil
}

func (s *session) push(ctx context.Context, store *layers.Store, local string, n layers.Name, o PushOptions) (ocispec.Descriptor, error) {
	target, err := store.ResolveDescriptor(local)
	if errors.Is(err, layers.ErrNotFound) {
		target, err = ocispec.Descriptor{}, nil // perhaps an image ID
	}
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	ref := n.Tag
	if ref == "" {
		ref = string(n.Digest)
	}
	if raw, m, ok := s.complete(store, target); ok {
		return target, s.pushTree(ctx, store, target, raw, m, ref)
	}
	img, err := store.Resolve(local, nil)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if o.Form.Compression.Algorithm == "" {
		o.Form.Compression = compress.Spec{Algorithm: compress.Gzip}
	}
	desc, raw, err := store.Manifest(ctx, img, o.Form)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	m, err := layers.ParseManifest(desc.MediaType, raw)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return desc, s.pushTree(ctx, store, desc, raw, m, ref)
}

// complete reads a manifest or index if the store has all the bytes that it
// names, so that it can be pushed as it came.
func (s *session) complete(store *layers.Store, d ocispec.Descriptor) ([]byte, *layers.Manifest, bool) {
	if d.Digest == "" {
		return nil, nil, false
	}
	raw, err := store.ReadManifest(d.Digest)
	if err != nil {
		return nil, nil, false
	}
	m, err := layers.ParseManifest(d.MediaType, raw)
	if err != nil {
		return nil, nil, false
	}
	for _, c := range m.Manifests {
		if _, _, ok := s.complete(store, c); !ok {
			return nil, nil, false
		}
	}
	for _, b := range blobsOf(m) {
		if _, err := store.StatBlob(b.Digest); err != nil {
			return nil, nil, false
		}
	}
	return raw, m, true
}

func blobsOf(m *layers.Manifest) []ocispec.Descriptor {
	if m.IsIndex() {
		return nil
	}
	return append([]ocispec.Descriptor{m.Config}, m.Layers...)
}

// pushTree pushes what a manifest names, then the manifest.
func (s *session) pushTree(ctx context.Context, store *layers.Store, d ocispec.Descriptor, raw []byte, m *layers.Manifest, ref string) error {
	for _, c := range m.Manifests {
		childRaw, child, ok := s.complete(store, c)
		if !ok {
			return fmt.Errorf("the store has no whole copy of %s", c.Digest)
		}
		if err := s.pushTree(ctx, store, c, childRaw, child, string(c.Digest)); err != nil {
			return err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.c.o.Jobs)
	seen := map[string]bool{}
	for _, b := range blobsOf(m) {
		if !seen[string(b.Digest)] {
			seen[string(b.Digest)] = true
			g.Go(func() error { return s.pushBlob(gctx, store, b) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return s.putManifest(ctx, ref, d, raw)
}

func (s *session) putManifest(ctx context.Context, ref string, d ocispec.Descriptor, raw []byte) error {
	h := http.Header{"Content-Type": {d.MediaType}}
	resp, err := s.do(ctx, http.MethodPut, s.path("manifests/%s", ref), h, bytesBody(raw), http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// hasBlob asks whether the registry has a blob.
func (s *session) hasBlob(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	resp, err := s.do(ctx, http.MethodHead, s.path("blobs/%s", d.Digest), nil, nil, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return false, err
	}
	return resp.StatusCode == http.StatusOK, resp.Body.Close()
}

// pushBlob sends one blob unless the registry has it.
func (s *session) pushBlob(ctx context.Context, store *layers.Store, d ocispec.Descriptor) error {
	has, err := s.hasBlob(ctx, d)
	if err != nil {
		return err
	}
	if has {
		s.c.event(Event{ID: string(d.Digest), Action: "exists", Current: d.Size, Total: d.Size})
		return nil
	}
	for try := 1; ; try++ {
		err := s.upload(ctx, store, d)
		if err == nil {
			s.c.event(Event{ID: string(d.Digest), Action: "done", Current: d.Size, Total: d.Size})
			return nil
		}
		var status *StatusError
		if try >= tries || ctx.Err() != nil || errors.As(err, &status) && final(status.Status) {
			return fmt.Errorf("upload %s: %w", d.Digest, err)
		}
	}
}

// final says whether a refusal would be the same for an upload from the start.
// One whose session was lost (404), or is not where we thought (416), would not.
func final(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestedRangeNotSatisfiable, http.StatusConflict:
		return false
	}
	return !passing(status)
}

// upload opens a session, sends the bytes, goes on where a broken connection
// left off, and closes with the digest.
func (s *session) upload(ctx context.Context, store *layers.Store, d ocispec.Descriptor) error {
	resp, err := s.do(ctx, http.MethodPost, s.path("blobs/uploads/"), nil, nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	resp.Body.Close()
	loc, err := s.location(resp)
	if err != nil {
		return err
	}
	offset := int64(0)
	for try := 1; offset < d.Size; try++ {
		next, serr := s.sendFrom(ctx, store, d, loc, offset)
		if serr == nil {
			loc = next
			break
		}
		if try >= tries || ctx.Err() != nil {
			return serr
		}
		if loc, offset, err = s.uploadOffset(ctx, loc); err != nil {
			return errors.Join(serr, err)
		}
	}
	q := loc.Query()
	q.Set("digest", string(d.Digest))
	loc.RawQuery = q.Encode()
	resp, err = s.do(ctx, http.MethodPut, loc.String(), nil, nil, http.StatusCreated)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// sendFrom sends the bytes from offset on in one request.
func (s *session) sendFrom(ctx context.Context, store *layers.Store, d ocispec.Descriptor, loc *url.URL, offset int64) (*url.URL, error) {
	b, err := store.OpenBlob(d.Digest)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(s.c.idle, func() { cancel(errIdle) })
	defer idle.Stop()
	e := Event{ID: string(d.Digest), Action: "upload", Current: offset, Total: d.Size}
	body := &reportingReader{r: io.NewSectionReader(b, offset, d.Size-offset), each: func(n int) {
		idle.Reset(s.c.idle)
		if e.Current += int64(n); e.Current == d.Size {
			idle.Stop() // from here on it is the registry that works
		}
		s.c.event(e)
	}}
	h := http.Header{"Content-Type": {"application/octet-stream"}}
	if offset > 0 {
		h.Set("Content-Range", fmt.Sprintf("%d-%d", offset, d.Size-1))
	}
	resp, err := s.once(ctx, http.MethodPatch, loc.String(), h, func() (io.Reader, int64, error) { return body, d.Size - offset, nil })
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusAccepted && resp.StatusCode != http.StatusNoContent {
		return nil, refusal(http.MethodPatch, resp)
	}
	resp.Body.Close()
	return s.location(resp)
}

// uploadOffset asks how much of an upload the registry has.
func (s *session) uploadOffset(ctx context.Context, loc *url.URL) (*url.URL, int64, error) {
	resp, err := s.do(ctx, http.MethodGet, loc.String(), nil, nil, http.StatusNoContent, http.StatusOK)
	if err != nil {
		return nil, 0, err
	}
	resp.Body.Close()
	var first, last int64
	if _, err := fmt.Sscanf(resp.Header.Get("Range"), "%d-%d", &first, &last); err != nil || first != 0 {
		return nil, 0, fmt.Errorf("the registry does not say how far the upload is")
	}
	if last > 0 {
		last++
	}
	next, err := s.location(resp)
	return next, last, err
}

// location reads where an upload goes on. Another origin is refused: the bytes
// and the credentials are for this registry.
func (s *session) location(resp *http.Response) (*url.URL, error) {
	loc, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("upload location: %w", err)
	}
	base, err := url.Parse(s.base)
	if err != nil {
		return nil, err
	}
	// A loopback registry may have TLS; back to plain text it may not go.
	same := loc.Scheme == base.Scheme || loc.Scheme == "https"
	if !same || loc.Host != base.Host {
		return nil, fmt.Errorf("the registry sends the upload to another origin (%s://%s)", loc.Scheme, loc.Host)
	}
	return loc, nil
}

// reportingReader tells of the bytes that are read.
type reportingReader struct {
	r    io.Reader
	each func(n int)
}

func (r *reportingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		r.each(n)
	}
	return n, err
}
