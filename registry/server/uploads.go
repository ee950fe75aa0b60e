package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
)

// startUpload answers POST: a mount, a whole blob in one request, or a session
// (end-4, end-11).
func (s *Server) startUpload(r *request) error {
	q := r.URL.Query()
	if m := q.Get("mount"); m != "" {
		d, err := parseDigest(m)
		if err != nil {
			return err
		}
		if s.mount(r, q.Get("from"), d) {
			return s.created(r, d)
		}
	}
	if d := q.Get("digest-algorithm"); d != "" && !digest.Algorithm(d).Available() {
		return problem(http.StatusBadRequest, "UNSUPPORTED", "unknown digest algorithm")
	}
	if err := s.room(); err != nil {
		return err
	}
	u, err := s.store.NewUpload(r.repo)
	if err != nil {
		return err
	}
	defer u.Close()
	if d := q.Get("digest"); d != "" && q.Get("mount") == "" {
		return s.finish(r, u, d)
	}
	return s.progress(r, u, http.StatusAccepted)
}

// room makes sure that there is room for one more upload: one that rests goes.
func (s *Server) room() error {
	open, err := s.store.Uploads()
	if err != nil || len(open) < s.o.MaxUploads {
		return err
	}
	if gone, err := s.store.DropUpload(s.uploadRest); gone || err != nil {
		return err
	}
	return problem(http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many uploads are open")
}

// mount links a blob that another repository shows to this caller. Without 'from'
// it looks into this repository alone: who may read which of all the others is
// not asked for every push.
func (s *Server) mount(r *request, from string, d digest.Digest) bool {
	if from == "" {
		from = r.repo
	}
	if !layers.ValidRepository(from) || !s.may(r.user, from, pull) || !s.shows(r, from, d) {
		return false
	}
	return s.store.LinkBlob(r.repo, d) == nil
}

// shows tells whether a repository shows a blob.
func (s *Server) shows(r *request, repo string, d digest.Digest) bool {
	if s.store.HasLink(repo, d) {
		return true
	}
	if !s.o.Local {
		return false
	}
	ok, err := s.local.shows(r.Context(), repo, d)
	return ok && err == nil
}

func (s *Server) openUpload(r *request) (*layers.Upload, error) {
	u, err := s.store.OpenUpload(r.repo, r.ref)
	if errors.Is(err, layers.ErrNotFound) {
		return nil, uploadUnknown()
	}
	return u, err
}

func (s *Server) uploadStatus(r *request) error {
	u, err := s.openUpload(r)
	if err != nil {
		return err
	}
	defer u.Close()
	return s.progress(r, u, http.StatusNoContent)
}

// patchUpload appends a chunk (end-5). A chunk that names its range must begin
// where the upload ends and be as long as it says.
func (s *Server) patchUpload(r *request) error {
	u, err := s.openUpload(r)
	if err != nil {
		return err
	}
	defer u.Close()
	if err := s.append(r, u); err != nil {
		return err
	}
	return s.progress(r, u, http.StatusAccepted)
}

// append adds the request's body to the upload.
func (s *Server) append(r *request, u *layers.Upload) error {
	size, err := u.Size()
	if err != nil {
		return err
	}
	offset := int64(-1)
	length := r.ContentLength
	if cr := r.Header.Get("Content-Range"); cr != "" {
		if offset, length, err = contentRange(cr, length); err != nil {
			return err
		}
	}
	if size+max(length, 0) > s.o.MaxBlob {
		return problem(http.StatusRequestEntityTooLarge, "SIZE_INVALID", "the blob is too large")
	}
	n, err := u.Append(r.Context(), offset, http.MaxBytesReader(r.w, r.Body, s.o.MaxBlob-size))
	s.count.receive(n)
	var off *layers.OffsetError
	if errors.As(err, &off) {
		s.setRange(r, u, off.Want)
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return problem(http.StatusBadRequest, "SIZE_INVALID", "the body ended early")
	}
	if err == nil && length >= 0 && n != length {
		return problem(http.StatusBadRequest, "SIZE_INVALID", "the body is not as long as its range")
	}
	return err
}

// contentRange reads 'first-last' (the specification's form) or 'bytes first-last/…'.
func contentRange(s string, length int64) (first, n int64, err error) {
	bad := problem(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "invalid Content-Range")
	s = strings.TrimPrefix(s, "bytes ")
	s, _, _ = strings.Cut(s, "/")
	a, b, ok := strings.Cut(s, "-")
	first, e1 := strconv.ParseInt(a, 10, 62)
	last, e2 := strconv.ParseInt(b, 10, 62)
	if !ok || e1 != nil || e2 != nil || first < 0 || last < first-1 {
		return 0, 0, bad
	}
	n = last - first + 1
	if length >= 0 && length != n {
		return 0, 0, bad
	}
	return first, n, nil
}

// finishUpload answers PUT: the last chunk, if any, and the digest (end-6).
func (s *Server) finishUpload(r *request) error {
	d := r.URL.Query().Get("digest")
	if d == "" {
		return problem(http.StatusBadRequest, "DIGEST_INVALID", "the digest is missing")
	}
	u, err := s.openUpload(r)
	if err != nil {
		return err
	}
	defer u.Close()
	return s.finish(r, u, d)
}

func (s *Server) finish(r *request, u *layers.Upload, want string) error {
	d, err := parseDigest(want)
	if err != nil {
		return err
	}
	if err := s.append(r, u); err != nil {
		return err
	}
	if _, err := u.Commit(r.Context(), d); err != nil {
		var mismatch *layers.DigestError
		if errors.As(err, &mismatch) {
			u.Cancel()
		}
		return err
	}
	return s.created(r, d)
}

func (s *Server) cancelUpload(r *request) error {
	u, err := s.openUpload(r)
	if err != nil {
		return err
	}
	if err := u.Cancel(); err != nil {
		return err
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) created(r *request, d digest.Digest) error {
	r.w.Header().Set("Location", "/v2/"+r.repo+"/blobs/"+string(d))
	r.w.Header().Set("Docker-Content-Digest", string(d))
	r.w.Header().Set("Content-Length", "0")
	r.w.WriteHeader(http.StatusCreated)
	return nil
}

// progress tells where an upload stands.
func (s *Server) progress(r *request, u *layers.Upload, status int) error {
	size, err := u.Size()
	if err != nil {
		return err
	}
	s.setRange(r, u, size)
	r.w.Header().Set("OCI-Chunk-Min-Length", "1")
	r.w.WriteHeader(status)
	return nil
}

func (s *Server) setRange(r *request, u *layers.Upload, size int64) {
	h := r.w.Header()
	h.Set("Location", (&url.URL{Path: "/v2/" + r.repo + "/blobs/uploads/" + u.ID}).EscapedPath())
	h.Set("Docker-Upload-UUID", u.ID)
	h.Set("Range", fmt.Sprintf("0-%d", max(size-1, 0)))
	h.Set("Content-Length", "0")
}
