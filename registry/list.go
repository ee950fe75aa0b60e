package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/transfer"
)

// maxPages bounds how long a listing may go on.
const maxPages = 1000

// Tags lists a repository's tags.
func (c *Client) Tags(ctx context.Context, repository string) ([]string, error) {
	n, err := layers.ParseName(repository)
	if err != nil {
		return nil, err
	}
	var tags []string
	err = c.listing(ctx, n, "", func(raw []byte) error {
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

// Repositories lists the repositories of a registry that gives a catalog.
func (c *Client) Repositories(ctx context.Context, registry string) ([]string, error) {
	n, err := layers.ParseName(registry + "/catalog")
	if err != nil {
		return nil, fmt.Errorf("%q is not a registry", registry)
	}
	var repos []string
	err = c.listing(ctx, n, "/v2/_catalog", func(raw []byte) error {
		var page struct{ Repositories []string }
		err := json.Unmarshal(raw, &page)
		repos = append(repos, page.Repositories...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list repositories of %s: %w", registry, err)
	}
	return repos, nil
}

// listing walks a listing of a repository, or of a registry where a path is given.
func (c *Client) listing(ctx context.Context, n layers.Name, path string, each func([]byte) error) error {
	action := toPull
	if path != "" {
		action = toList
	}
	s, err := c.dial(n, action)
	if err != nil {
		return err
	}
	l, err := s.origin().get(ctx)
	if err != nil {
		return err
	}
	if path == "" {
		path = l.Path("tags/list")
	}
	return pages(ctx, l, path, each)
}

// pages walks a listing along its Link headers, which may not leave the registry
// nor come back.
func pages(ctx context.Context, l *transfer.Line, path string, each func([]byte) error) error {
	seen := map[string]bool{}
	for range maxPages {
		seen[path] = true
		raw, header, err := l.Document(ctx, path, nil, layers.MaxManifest)
		if err == nil {
			err = each(raw)
		}
		if err != nil {
			return err
		}
		if path, err = nextPage(l, path, header.Get("Link")); err != nil || path == "" {
			return err
		}
		if seen[path] {
			return errors.New("the listing goes round in circles")
		}
	}
	return fmt.Errorf("the listing has more than %d pages", maxPages)
}

// nextPage is the path and query of a Link header's next page on this registry.
func nextPage(l *transfer.Line, path, link string) (string, error) {
	target, rest, found := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
	if link == "" || !found || !strings.Contains(rest, "next") {
		return "", nil
	}
	at, err := url.Parse(l.Base + path)
	if err != nil {
		return "", err
	}
	next, err := at.Parse(target)
	if err != nil {
		return "", fmt.Errorf("the listing's next page: %w", err)
	}
	if !transfer.SameHost(at.Scheme, next.Host, at.Host) {
		return "", fmt.Errorf("the listing goes on at another host (%s)", next.Host)
	}
	return next.RequestURI(), nil
}
