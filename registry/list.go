package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/hodbuild/hod/layers"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxPages bounds how long a listing may go on.
const maxPages = 1000

// Tags lists a repository's tags.
func (c *Client) Tags(ctx context.Context, repository string) ([]string, error) {
	n, err := layers.ParseName(repository)
	if err != nil {
		return nil, err
	}
	s, err := c.dial(ctx, n, false)
	if err != nil {
		return nil, err
	}
	var tags []string
	err = s.pages(ctx, s.path("tags/list"), func(raw []byte) error {
		var page struct{ Tags []string }
		err := json.Unmarshal(raw, &page)
		tags = append(tags, page.Tags...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", n.FamiliarRepository(), err)
	}
	return tags, nil
}

// Delete removes a tag, or with a digest a manifest, from its registry.
func (c *Client) Delete(ctx context.Context, ref string) error {
	n, err := layers.ParseName(ref)
	if err != nil {
		return err
	}
	s, err := c.dial(ctx, n, true)
	if err != nil {
		return err
	}
	what := n.Tag
	if n.Digest != "" {
		what = string(n.Digest)
	}
	resp, err := s.do(ctx, http.MethodDelete, s.path("manifests/%s", what), nil, nil, http.StatusAccepted, http.StatusOK)
	if err != nil {
		return fmt.Errorf("delete %s: %w", n.Familiar(), err)
	}
	return resp.Body.Close()
}

// Manifest reads a manifest or index as it is.
func (c *Client) Manifest(ctx context.Context, ref string) (ocispec.Descriptor, []byte, error) {
	n, err := layers.ParseName(ref)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	s, err := c.dial(ctx, n, false)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	what := n.Tag
	if n.Digest != "" {
		what = string(n.Digest)
	}
	return s.manifest(ctx, what)
}

// pages walks a listing along its Link headers, which may not leave the
// registry nor come back.
func (s *session) pages(ctx context.Context, path string, each func([]byte) error) error {
	seen := map[string]bool{}
	for range maxPages {
		seen[path] = true
		resp, err := s.do(ctx, http.MethodGet, path, nil, nil, http.StatusOK)
		if err != nil {
			return err
		}
		raw, err := io.ReadAll(io.LimitReader(resp.Body, layers.MaxManifest))
		resp.Body.Close()
		if err == nil {
			err = each(raw)
		}
		if err != nil {
			return err
		}
		path = nextPage(resp)
		if path == "" {
			return nil
		}
		if seen[path] {
			return fmt.Errorf("the listing goes round in circles")
		}
	}
	return fmt.Errorf("the listing has more than %d pages", maxPages)
}

// nextPage is the path and query of a Link header's next page on this registry.
func nextPage(resp *http.Response) string {
	link := resp.Header.Get("Link")
	var target string
	if n, _ := fmt.Sscanf(link, "<%s", &target); n != 1 {
		return ""
	}
	for i, c := range target {
		if c == '>' {
			target = target[:i]
			break
		}
	}
	u, err := url.Parse(target)
	if err != nil || u.Path == "" {
		return ""
	}
	return u.RequestURI()
}
