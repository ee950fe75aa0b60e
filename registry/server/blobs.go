package server

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
)

// getBlob answers GET and HEAD of a blob, whole or a range (end-2).
func (s *Server) getBlob(r *request) error {
	d, err := parseDigest(r.ref)
	if err != nil {
		return err
	}
	b, err := s.openBlob(r, d)
	if err != nil {
		return err
	}
	defer b.Close()
	h := r.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", string(d))
	h.Set("ETag", `"`+string(d)+`"`)
	h.Set("Cache-Control", "max-age=31536000, immutable")
	if strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range") // no client of a registry wants several, and thousands of them cost more than the whole
	}
	http.ServeContent(r.w, r.Request, "", time.Time{}, b.File())
	return nil
}

func (s *Server) openBlob(r *request, d digest.Digest) (*layers.Blob, error) {
	if !s.shows(r, r.repo, d) {
		return nil, blobUnknown()
	}
	if r.Method == http.MethodHead {
		s.store.TouchLink(r.repo, d)
	}
	b, err := s.store.OpenBlob(d)
	if errors.Is(err, layers.ErrNotFound) {
		return nil, blobUnknown()
	}
	return b, err
}

func (s *Server) deleteBlob(r *request) error {
	d, err := parseDigest(r.ref)
	if err != nil {
		return err
	}
	if _, err := s.store.RepositoryManifest(r.repo, d); err == nil {
		return problem(http.StatusMethodNotAllowed, "UNSUPPORTED", "it is a manifest: delete it as one")
	}
	unlock, err := s.store.LockRepository(r.Context(), r.repo, true)
	if err != nil {
		return err
	}
	defer unlock()
	err = s.store.UnlinkBlob(r.repo, d)
	if errors.Is(err, layers.ErrNotFound) {
		return blobUnknown()
	}
	if err == nil {
		r.w.WriteHeader(http.StatusAccepted)
	}
	return err
}
