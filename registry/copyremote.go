package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/transfer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// remote is a name in a registry, as the origin or the destination of a copy.
type remote struct {
	*pushing // its session reads only, where it is an origin
}

func (r remote) root(ctx context.Context) (ocispec.Descriptor, error) {
	desc, raw, _, err := r.read(ctx, refOf(r.pushing.name))
	r.pushing.root, r.pushing.raw = desc.Digest, raw
	return desc, err
}

func (r remote) document(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	if d.Digest == r.pushing.root && d.Digest != "" {
		return r.pushing.raw, nil
	}
	_, raw, _, err := r.read(ctx, string(d.Digest))
	return raw, err
}

func (r remote) content(d ocispec.Descriptor) transfer.Content {
	return &remoteContent{s: r.session, desc: d, h: d.Digest.Algorithm().Hash()}
}

// digestTags are how cosign names what belongs to a manifest without referring to it.
var digestTags = []string{"sig", "att", "sbom"}

// referrers asks the referrers API, or where there is none the tag that stands
// for it, and looks for tags of the old way.
func (r remote) referrers(ctx context.Context, d digest.Digest) ([]tagged, error) {
	list := make([]tagged, len(digestTags))
	g, gctx := errgroup.WithContext(ctx)
	for i, suffix := range digestTags {
		g.Go(func() error {
			tag := fallbackTag(d) + "." + suffix
			desc, _, _, err := r.read(gctx, tag)
			if err == nil {
				list[i] = tagged{desc, tag}
			}
			if transfer.Status(err) == http.StatusNotFound {
				return nil
			}
			return err
		})
	}
	found, err := r.session.referrers(ctx, d)
	if err = errors.Join(err, g.Wait()); err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(t tagged) bool { return t.tag == "" })
	for _, f := range found {
		list = append(list, tagged{Descriptor: f})
	}
	return list, nil
}

// fallbackTag names the index of a manifest's referrers where a registry has no
// referrers API.
func fallbackTag(d digest.Digest) string { return d.Algorithm().String() + "-" + d.Encoded() }

// Referrers lists the manifests of a repository whose subject is what a name
// means: signatures, attestations, SBOMs.
func (c *Client) Referrers(ctx context.Context, ref string) ([]ocispec.Descriptor, error) {
	d, err := c.Digest(ctx, ref)
	if err != nil {
		return nil, err
	}
	n, err := layers.ParseName(ref)
	if err != nil {
		return nil, err
	}
	s, err := c.dial(n, toPull)
	if err != nil {
		return nil, err
	}
	return s.referrers(ctx, d)
}

func (s *session) referrers(ctx context.Context, d digest.Digest) ([]ocispec.Descriptor, error) {
	l, err := s.origin().get(ctx)
	if err != nil {
		return nil, err
	}
	var list []ocispec.Descriptor
	add := func(raw []byte) error {
		var page struct{ Manifests []ocispec.Descriptor }
		if err := json.Unmarshal(raw, &page); err != nil {
			return err
		}
		list = append(list, page.Manifests...)
		return nil
	}
	err = pages(ctx, l, l.Path("referrers/%s", d), add)
	if transfer.Status(err) == 0 && err == nil {
		return list, nil
	}
	if s := transfer.Status(err); s < 400 || s >= 500 || s == http.StatusUnauthorized || s == http.StatusTooManyRequests {
		return nil, err
	}
	_, raw, m, err := s.read(ctx, fallbackTag(d))
	if transfer.Status(err) == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !m.IsIndex() {
		return nil, nil
	}
	return list, add(raw)
}

func (r remote) has(ctx context.Context, d ocispec.Descriptor, named bool) (bool, error) {
	ref := string(d.Digest)
	if want := r.pushing.name.Digest; named && want != "" && want != d.Digest {
		return false, &layers.DigestError{Want: want, Got: d.Digest}
	}
	if named {
		ref = tagOf(r.pushing.name, d)
	}
	return r.names(ctx, ref, d.Digest)
}

func (r remote) blob(ctx context.Context, d ocispec.Descriptor, c transfer.Content) error {
	return r.upload(ctx, string(d.Digest), &transfer.Upload{Blob: d, From: append(r.link, r.seen[d.Digest]...), Sure: len(r.link) > 0, Content: c, Slots: r.slots})
}

func (r remote) manifest(ctx context.Context, d tagged, raw []byte, m *layers.Manifest) error {
	return r.put(ctx, cmp.Or(d.tag, string(d.Digest)), d.Descriptor, raw)
}

func (r remote) name(ctx context.Context, d ocispec.Descriptor, raw []byte, m *layers.Manifest) error {
	return r.put(ctx, tagOf(r.pushing.name, d), d, raw)
}

// remoteContent is a blob of another registry on its way through: nothing of it
// is stored here. It is hashed as it passes the first time; a part that is read
// again was hashed before.
type remoteContent struct {
	s    *session
	desc ocispec.Descriptor

	mu     sync.Mutex // guards what follows
	h      hash.Hash
	hashed int64
}

func (c *remoteContent) Whole(context.Context) (ocispec.Descriptor, error) { return c.desc, nil }

func (c *remoteContent) Open(ctx context.Context, off int64) (io.ReadCloser, error) {
	return &remoteReader{ctx: ctx, c: c, at: off}, nil
}

// pass hashes bytes that were read at an offset, and at the end tells whether
// they were the blob.
func (c *remoteContent) pass(at int64, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if skip := c.hashed - at; skip >= 0 && skip < int64(len(p)) {
		c.h.Write(p[skip:])
		c.hashed += int64(len(p)) - skip
	}
	if c.hashed != c.desc.Size || at+int64(len(p)) != c.desc.Size {
		return nil
	}
	if got := digest.NewDigest(c.desc.Digest.Algorithm(), c.h); got != c.desc.Digest {
		return &layers.DigestError{Want: c.desc.Digest, Got: got}
	}
	return nil
}

// remoteReader reads a blob from an offset and goes on after broken connections.
type remoteReader struct {
	ctx     context.Context
	c       *remoteContent
	at      int64
	body    io.ReadCloser
	came    int // bytes of this body
	stalled int // bodies that brought nothing worth it
}

func (r *remoteReader) Read(p []byte) (int, error) {
	at := r.at
	n, err := r.read(p)
	if n > 0 {
		err = r.c.pass(at, p[:n])
	}
	return n, err
}

// WriteTo writes the rest, and hashes it beside.
func (r *remoteReader) WriteTo(w io.Writer) (int64, error) {
	if r.at != 0 || r.c.desc.Size == 0 {
		return io.Copy(w, struct{ io.Reader }{r})
	}
	h := r.c.desc.Digest.Algorithm().Hash()
	n, err := layers.CopyHashed(r.ctx, w, readFunc(r.read), h)
	if got := digest.NewDigest(r.c.desc.Digest.Algorithm(), h); err == nil && got != r.c.desc.Digest {
		err = &layers.DigestError{Want: r.c.desc.Digest, Got: got}
	}
	return n, err
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// read reads what is not verified yet.
func (r *remoteReader) read(p []byte) (int, error) {
	for r.at < r.c.desc.Size {
		n, err := r.next(p[:min(int64(len(p)), r.c.desc.Size-r.at)])
		if n > 0 {
			if r.came += n; r.came >= transfer.LeastStep {
				r.stalled = 0
			}
			r.at += int64(n)
			return n, nil
		}
		r.Close()
		var final *transfer.FinalError
		if r.stalled++; r.stalled >= 5 || r.ctx.Err() != nil || transfer.Status(err) != 0 || errors.As(err, &final) {
			return 0, fmt.Errorf("read blob %s: %w", r.c.desc.Digest, err)
		}
		select {
		case <-r.ctx.Done():
		case <-time.After(r.c.s.c.patience.Pause):
		}
	}
	return 0, io.EOF
}

func (r *remoteReader) next(p []byte) (int, error) {
	if r.body == nil {
		err := r.c.s.each(r.ctx, func(l *transfer.Line) error {
			var err error
			r.body, err = l.Blob(r.ctx, r.c.desc.Digest, r.at)
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	n, err := r.body.Read(p)
	if n == 0 && err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (r *remoteReader) Close() error {
	if r.body == nil {
		return nil
	}
	err := r.body.Close()
	r.body, r.came = nil, 0
	return err
}
