package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxPage is the most names that one answer lists.
const maxPage = 1000

// page cuts a sorted list by the parameters n and last, and says in a Link
// header where it goes on.
func page(r *request, all []string) ([]string, error) {
	q := r.URL.Query()
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	n := maxPage
	if v := q.Get("n"); v != "" {
		asked, err := strconv.Atoi(v)
		if err != nil || asked < 0 {
			return nil, problem(http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n is not a number of entries")
		}
		n = min(asked, maxPage)
	}
	if len(all) <= n {
		return all, nil
	}
	all = all[:n]
	if n > 0 {
		next := url.Values{"n": {strconv.Itoa(n)}, "last": {all[n-1]}}
		r.w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, r.URL.EscapedPath(), next.Encode()))
	}
	return all, nil
}

// tags lists a repository's tags (end-8).
func (s *Server) tags(r *request) error {
	links, err := s.store.Links(r.repo)
	if err != nil {
		return err
	}
	tags, err := s.store.RepositoryTags(r.Context(), r.repo)
	if err != nil {
		return err
	}
	if s.o.Local {
		more, err := s.local.tags(r.Context(), r.repo)
		if err != nil {
			return err
		}
		tags = sorted(append(tags, more...))
	}
	if len(links) == 0 && len(tags) == 0 {
		return problem(http.StatusNotFound, "NAME_UNKNOWN", "no such repository")
	}
	tags, err = page(r, tags)
	if err != nil {
		return err
	}
	return writeJSON(r, "application/json", map[string]any{"name": r.repo, "tags": tags})
}

func (s *Server) catalog(r *request) error {
	repos, err := s.store.Repositories(r.Context())
	if err != nil {
		return err
	}
	if s.o.Local {
		more, err := s.local.repositories(r.Context())
		if err != nil {
			return err
		}
		repos = sorted(append(repos, more...))
	}
	repos = slices.DeleteFunc(repos, func(repo string) bool { return !s.may(r.user, repo, pull) })
	if repos, err = page(r, repos); err != nil {
		return err
	}
	return writeJSON(r, "application/json", map[string]any{"repositories": append([]string{}, repos...)})
}

// sorted sorts a list and drops what is there twice.
func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// maxReferrers is about how many bytes of referrers one answer has: their
// annotations may be as large as a manifest.
const maxReferrers = 1 << 20

// referrers answers with an index of the manifests whose subject is the digest
// (end-12), filtered by artifact type where asked, page by page.
func (s *Server) referrers(r *request) error {
	d, err := parseDigest(r.ref)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	kind := q.Get("artifactType")
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	index.SchemaVersion = 2
	size, more := 0, false
	err = s.store.RepositoryReferrers(r.Context(), r.repo, d, digest.Digest(q.Get("last")), func(desc ocispec.Descriptor) bool {
		if kind != "" && desc.ArtifactType != kind {
			return true
		}
		for k, v := range desc.Annotations {
			size += len(k) + len(v)
		}
		if more = len(index.Manifests) == maxPage || size > maxReferrers && len(index.Manifests) > 0; !more {
			index.Manifests = append(index.Manifests, desc)
		}
		return !more
	})
	if err != nil {
		return err
	}
	if kind != "" {
		r.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if more {
		q.Set("last", string(index.Manifests[len(index.Manifests)-1].Digest))
		r.w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, r.URL.EscapedPath(), q.Encode()))
	}
	return writeJSON(r, ocispec.MediaTypeImageIndex, index)
}

func writeJSON(r *request, contentType string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	r.w.Header().Set("Content-Type", contentType)
	r.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err = r.w.Write(body)
	return err
}
