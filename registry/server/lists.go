package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

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

// referrers answers with an index of the manifests whose subject is the digest
// (end-12), filtered by artifact type where asked.
func (s *Server) referrers(r *request) error {
	d, err := parseDigest(r.ref)
	if err != nil {
		return err
	}
	descs, err := s.store.RepositoryReferrers(r.Context(), r.repo, d)
	if err != nil {
		return err
	}
	if t := r.URL.Query().Get("artifactType"); t != "" {
		descs = slices.DeleteFunc(descs, func(d ocispec.Descriptor) bool { return d.ArtifactType != t })
		r.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: descs}
	index.SchemaVersion = 2
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
