package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/hodbuild/hod/layers"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// PullOptions say what of an image is pulled.
type PullOptions struct {
	Platform *ocispec.Platform // nil is the host's
}

// Pull fetches an image into the store and tags it with its name. The store has
// the image whole, or not at all; what was received before a failure is used by
// the next pull. It gives back what the name names now.
func (c *Client) Pull(ctx context.Context, store *layers.Store, ref string, o PullOptions) (*layers.Image, ocispec.Descriptor, error) {
	r, err := c.Resolve(ctx, ref, o.Platform)
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	img, err := c.Fetch(ctx, store, r)
	if err != nil {
		return nil, ocispec.Descriptor{}, fmt.Errorf("pull %s: %w", r.Name.Familiar(), err)
	}
	target := r.Desc
	if r.Index != nil {
		target = *r.Index
		if err := store.PutManifest(ctx, target, r.RawIndex); err != nil {
			return nil, target, err
		}
	}
	return img, target, store.Tag(ctx, r.Name.String(), target)
}

// Fetch brings a resolved image's layers and config into the store, without a
// name.
func (c *Client) Fetch(ctx context.Context, store *layers.Store, r *Remote) (*layers.Image, error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.o.Jobs)
	for _, d := range r.Manifest.Layers {
		g.Go(func() error { return r.session.fetchBlob(gctx, store, d) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, d := range r.Manifest.Layers {
		c.event(Event{ID: string(d.Digest), Action: "unpack", Current: d.Size, Total: d.Size})
		if err := store.IngestStored(ctx, d, r.Chain[i], layers.IngestOptions{}); err != nil {
			return nil, fmt.Errorf("layer %s: %w", d.Digest, err)
		}
		c.event(Event{ID: string(d.Digest), Action: "done", Current: d.Size, Total: d.Size})
	}
	return store.PutImage(ctx, r.Config, r.Chain, layers.PutImageOptions{Source: r.Name.String(), Manifest: &r.Desc, RawManifest: r.Raw})
}

// fetchBlob downloads one blob unless the store has it.
func (s *session) fetchBlob(ctx context.Context, store *layers.Store, d ocispec.Descriptor) error {
	if err := layers.CheckDescriptor(d); err != nil {
		return err
	}
	if _, err := store.StatBlob(d.Digest); err == nil {
		s.c.event(Event{ID: string(d.Digest), Action: "exists", Current: d.Size, Total: d.Size})
		return nil
	}
	p, err := store.Partial(string(d.Digest))
	if err != nil {
		return err
	}
	defer p.Close()
	if err := s.download(ctx, p.File(), d); err != nil {
		return fmt.Errorf("download %s: %w", d.Digest, err)
	}
	err = p.Commit(ctx, d, false)
	var mismatch *layers.DigestError
	if errors.As(err, &mismatch) {
		p.Remove() // nothing of it can be trusted to go on from
	}
	return err
}

// stallTries is how often a download goes on without a byte having come.
const stallTries = 5

// download fills a file from its end to the blob's size, going on after broken
// connections as long as bytes come.
func (s *session) download(ctx context.Context, f *os.File, d ocispec.Descriptor) error {
	for stalled := 0; ; {
		st, err := f.Stat()
		if err != nil {
			return err
		}
		have := st.Size()
		if have == d.Size {
			return nil
		}
		if have > d.Size {
			return fmt.Errorf("the server sent more than %d bytes", d.Size)
		}
		n, err := s.downloadFrom(ctx, f, d, have)
		if err == nil {
			continue
		}
		var status *StatusError
		if errors.As(err, &status) || ctx.Err() != nil {
			return err
		}
		if stalled++; n > 0 {
			stalled = 0
		}
		if stalled >= stallTries {
			return err
		}
	}
}

// downloadFrom asks for the rest of a blob and writes what comes. A server that
// knows no ranges sends the whole; what is there already is then skipped.
func (s *session) downloadFrom(ctx context.Context, f *os.File, d ocispec.Descriptor, have int64) (int64, error) {
	h := http.Header{}
	if have > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	resp, err := s.do(ctx, http.MethodGet, s.path("blobs/%s", d.Digest), h, nil, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusPartialContent {
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)) {
			return 0, fmt.Errorf("the server answered with the range %q", printable(resp.Header.Get("Content-Range")))
		}
	} else if _, err := io.CopyN(io.Discard, resp.Body, have); err != nil {
		return 0, fmt.Errorf("skip what is there: %w", err)
	}
	w := &reporting{w: io.NewOffsetWriter(f, have), event: s.c.event, e: Event{ID: string(d.Digest), Action: "download", Current: have, Total: d.Size}}
	n, err := io.Copy(w, io.LimitReader(resp.Body, d.Size-have+1))
	if err == nil && have+n < d.Size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// reporting tells of the bytes that pass.
type reporting struct {
	w     io.Writer
	event func(Event)
	e     Event
}

func (r *reporting) Write(p []byte) (int, error) {
	n, err := r.w.Write(p)
	r.e.Current += int64(n)
	r.event(r.e)
	return n, err
}
