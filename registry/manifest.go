package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/transfer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Manifest reads a manifest or index as it is, verified against the digest if
// the name has one.
func (c *Client) Manifest(ctx context.Context, ref string) (ocispec.Descriptor, []byte, error) {
	n, err := layers.ParseName(ref)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	s, err := c.dial(n, toPull)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	desc, raw, _, err := s.read(ctx, refOf(n))
	if err != nil {
		err = fmt.Errorf("manifest of %s: %w", n.Familiar(), err)
	}
	return desc, raw, err
}

// Digest tells what a name means now, by one request without a body; a registry
// that does not say the digest is asked for the manifest.
func (c *Client) Digest(ctx context.Context, ref string) (digest.Digest, error) {
	n, err := layers.ParseName(ref)
	if err != nil {
		return "", err
	}
	s, err := c.dial(n, toPull)
	if err != nil {
		return "", err
	}
	d, err := s.digest(ctx, n)
	if err != nil {
		return "", fmt.Errorf("digest of %s: %w", n.Familiar(), err)
	}
	return d, nil
}

func (s *session) digest(ctx context.Context, n layers.Name) (digest.Digest, error) {
	var got digest.Digest
	err := s.each(ctx, func(l *transfer.Line) error {
		resp, err := l.Do(ctx, http.MethodHead, l.Path("manifests/%s", refOf(n)), http.Header{"Accept": {accept}}, nil, http.StatusOK)
		if err != nil {
			return err
		}
		got = digest.Digest(resp.Header.Get("Docker-Content-Digest"))
		return resp.Body.Close()
	})
	if err != nil || got.Validate() == nil && (n.Digest == "" || n.Digest == got) {
		return got, err
	}
	desc, _, _, err := s.read(ctx, refOf(n))
	return desc.Digest, err
}

// CopyBlob writes a blob of a repository to w as it comes, and goes on where a connection
// breaks; name must have the blob's digest. An error tells that what was written is not
// the blob.
func (c *Client) CopyBlob(ctx context.Context, w io.Writer, name string) error {
	n, err := layers.ParseName(name)
	if err != nil {
		return err
	}
	if n.Digest == "" {
		return fmt.Errorf("blob of %s: the name has no digest", n.Familiar())
	}
	s, err := c.dial(n, toPull)
	if err != nil {
		return err
	}
	h := n.Digest.Algorithm().Hash()
	both, at, before := io.MultiWriter(w, h), int64(0), int64(0)
	for again := true; again; again = err != nil && at-before >= transfer.LeastStep && ctx.Err() == nil {
		before = at
		err = s.each(ctx, func(l *transfer.Line) error {
			r, err := l.Blob(ctx, n.Digest, at)
			if err != nil {
				return err
			}
			defer r.Close()
			k, err := io.Copy(both, r)
			at += k
			return err
		})
	}
	if err == nil && digest.NewDigest(n.Digest.Algorithm(), h) != n.Digest {
		err = &layers.DigestError{Want: n.Digest, Got: digest.NewDigest(n.Digest.Algorithm(), h)}
	}
	if err != nil {
		return fmt.Errorf("blob of %s: %w", n.Familiar(), err)
	}
	return nil
}

// PutManifest stores a manifest or index under a name, whose digest must fit if
// it has one. What the manifest names must be in the repository.
func (c *Client) PutManifest(ctx context.Context, ref string, desc ocispec.Descriptor, raw []byte) error {
	n, err := layers.ParseName(ref)
	if err != nil {
		return err
	}
	s, err := c.dial(n, toPush)
	if err != nil {
		return err
	}
	if n.Digest != "" && n.Digest != desc.Digest {
		return fmt.Errorf("put manifest %s: %w", n.Familiar(), &layers.DigestError{Want: n.Digest, Got: desc.Digest})
	}
	if err := s.put(ctx, tagOf(n, desc), desc, raw); err != nil {
		return fmt.Errorf("put manifest %s: %w", n.Familiar(), err)
	}
	return nil
}

// tagOf is what a manifest is pushed as: the tag, even where a digest stands
// beside it.
func tagOf(n layers.Name, desc ocispec.Descriptor) string {
	if n.Tag != "" {
		return n.Tag
	}
	return string(desc.Digest)
}

// put stores a manifest in the session's repository.
func (s *session) put(ctx context.Context, ref string, d ocispec.Descriptor, raw []byte) error {
	l, err := s.writer(ctx)
	if err != nil {
		return err
	}
	h := http.Header{"Content-Type": {d.MediaType}}
	resp, err := l.Do(ctx, http.MethodPut, l.Path("manifests/%s", ref), h, transfer.Bytes(raw), http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return err
	}
	resp.Body.Close()
	m, err := layers.ParseManifest(d.MediaType, raw)
	if err != nil || m.Subject == nil || resp.Header.Get("OCI-Subject") != "" {
		return err
	}
	return s.refer(ctx, l, m.Subject.Digest, d, m)
}

// Delete removes a tag, or with a digest a manifest, from its registry.
func (c *Client) Delete(ctx context.Context, ref string) error {
	n, err := layers.ParseName(ref)
	if err != nil {
		return err
	}
	err = c.remove(ctx, n, "manifests/"+refOf(n))
	if s := transfer.Status(err); n.Digest == "" && (s == http.StatusMethodNotAllowed || s == http.StatusBadRequest) {
		err = &untagError{err}
	}
	return err
}

// DeleteManifest removes what a name means from its registry, and so all its tags. The
// registry itself is asked what that is: a mirror may be behind.
func (c *Client) DeleteManifest(ctx context.Context, ref string) error {
	n, err := layers.ParseName(ref)
	if err != nil {
		return err
	}
	s, err := c.dial(n, toDelete)
	if err != nil {
		return err
	}
	itself := &session{c: c, ways: []*way{s.origin()}}
	if n.Digest, err = itself.digest(ctx, n); err != nil {
		return fmt.Errorf("delete what %s means: %w", n.Familiar(), err)
	}
	return c.remove(ctx, n, "manifests/"+string(n.Digest))
}

// untagError is a registry that deletes only by digest.
type untagError struct{ error }

func (e *untagError) Unwrap() error { return e.error }

// Hint is what to do about it.
func (e *untagError) Hint() string {
	return "this registry deletes no tags: --manifest deletes the image that the tag names, with all its tags"
}

// DeleteBlob removes a blob from a repository; name must have its digest.
func (c *Client) DeleteBlob(ctx context.Context, name string) error {
	n, err := layers.ParseName(name)
	if err != nil {
		return err
	}
	return c.remove(ctx, n, "blobs/"+string(n.Digest))
}

func (c *Client) remove(ctx context.Context, n layers.Name, what string) error {
	s, err := c.dial(n, toDelete)
	if err != nil {
		return err
	}
	l, err := s.writer(ctx)
	if err != nil {
		return err
	}
	resp, err := l.Do(ctx, http.MethodDelete, l.Path("%s", what), nil, nil, http.StatusAccepted, http.StatusOK, http.StatusNoContent)
	if err != nil {
		return fmt.Errorf("delete %s: %w", n.Familiar(), err)
	}
	return resp.Body.Close()
}
