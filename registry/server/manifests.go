package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxTagParams bounds how many tags one push by digest may set.
const maxTagParams = 64

// lookup finds a manifest by tag or digest.
func (s *Server) lookup(r *request) (ocispec.Descriptor, error) {
	desc, err := s.describe(r.repo, r.ref)
	if errors.Is(err, layers.ErrNotFound) && s.o.Local {
		desc, err = s.local.manifest(r.Context(), r.repo, r.ref)
	}
	if errors.Is(err, layers.ErrNotFound) {
		return desc, manifestUnknown()
	}
	return desc, err
}

func (s *Server) describe(repo, ref string) (ocispec.Descriptor, error) {
	if d, err := digest.Parse(ref); err == nil {
		return s.store.RepositoryManifest(repo, d)
	}
	if !layers.ValidTag(ref) {
		return ocispec.Descriptor{}, layers.ErrNotFound
	}
	return s.store.RepositoryTag(repo, ref)
}

// getManifest answers GET and HEAD (end-3).
func (s *Server) getManifest(r *request) error {
	desc, err := s.lookup(r)
	if err != nil {
		return err
	}
	h := r.w.Header()
	h.Set("Docker-Content-Digest", string(desc.Digest))
	h.Set("ETag", `"`+string(desc.Digest)+`"`)
	if r.Header.Get("If-None-Match") == h.Get("ETag") {
		r.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", desc.MediaType)
	if desc.Size > small {
		return s.sendLarge(r, desc.Digest)
	}
	raw, err := s.store.ReadManifest(desc.Digest)
	if errors.Is(err, layers.ErrNotFound) {
		return manifestUnknown()
	}
	if err != nil {
		return err
	}
	h.Set("Content-Length", strconv.Itoa(len(raw)))
	if r.Method == http.MethodHead {
		return nil
	}
	_, err = r.w.Write(raw)
	return err
}

// sendLarge sends a manifest as a blob is sent, from its file: whoever reads slowly
// must not have it lie in memory for so long.
func (s *Server) sendLarge(r *request, d digest.Digest) error {
	b, err := s.store.OpenBlob(d)
	if errors.Is(err, layers.ErrNotFound) {
		return manifestUnknown()
	}
	if err != nil {
		return err
	}
	defer b.Close()
	http.ServeContent(r.w, r.Request, "", time.Time{}, b.File())
	return nil
}

// putManifest stores a manifest under a tag, a digest, or a digest with tags
// as parameters (end-7).
func (s *Server) putManifest(r *request) error {
	raw, done, err := s.readManifest(r)
	if err != nil {
		return err
	}
	defer done()
	d, tags, err := manifestNames(r, raw)
	if err != nil {
		return err
	}
	m, err := layers.ParseManifest(mediaType(r), raw)
	if err != nil {
		return problem(http.StatusBadRequest, "MANIFEST_INVALID", err.Error())
	}
	unlock, err := s.store.LockRepository(r.Context(), r.repo, false)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.keep(r, m, d, raw); err != nil {
		return err
	}
	for _, t := range tags {
		if err := s.store.TagRepository(r.repo, t, ocispec.Descriptor{MediaType: m.MediaType, Digest: d, Size: int64(len(raw))}); err != nil {
			return err
		}
		r.w.Header().Add("OCI-Tag", t)
	}
	if m.Subject != nil {
		r.w.Header().Set("OCI-Subject", string(m.Subject.Digest))
	}
	r.w.Header().Set("Location", "/v2/"+r.repo+"/manifests/"+r.ref)
	r.w.Header().Set("Docker-Content-Digest", string(d))
	r.w.WriteHeader(http.StatusCreated)
	return nil
}

// keep makes a manifest, whose parts are there, one of the repository.
func (s *Server) keep(r *request, m *layers.Manifest, d digest.Digest, raw []byte) error {
	if !s.o.Sparse {
		if err := s.complete(r, m); err != nil {
			return err
		}
	}
	subject := digest.Digest("")
	if m.Subject != nil {
		subject = m.Subject.Digest
	}
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: d, Size: int64(len(raw)), Annotations: m.Annotations, ArtifactType: artifactType(m)}
	return s.store.PutRepositoryManifest(r.Context(), r.repo, desc, raw, subject)
}

// Large manifests take turns, so that many at once do not fill the memory: together they
// may have maxHeavy bytes of it. Small ones never wait.
const (
	maxHeavy = 64 << 20
	small    = 64 << 10
)

// readManifest reads a manifest whole. A large one comes into a file, at the pace of its
// client, and takes its turn when all of it is here: who sends slowly keeps nobody
// waiting. done gives its place to the next.
func (s *Server) readManifest(r *request) (raw []byte, done func(), err error) {
	if r.ContentLength > layers.MaxManifest {
		return nil, nil, problem(http.StatusRequestEntityTooLarge, "SIZE_INVALID", "the manifest is larger than 4 MiB")
	}
	body := http.MaxBytesReader(r.w, r.Body, layers.MaxManifest)
	done = func() {}
	if raw, err = io.ReadAll(io.LimitReader(body, small)); err == nil && len(raw) == small {
		raw, done, err = s.readLarge(r.Context(), io.MultiReader(bytes.NewReader(raw), body))
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = problem(http.StatusBadRequest, "SIZE_INVALID", "the body ended early")
	}
	return raw, done, err
}

func (s *Server) readLarge(ctx context.Context, body io.Reader) (raw []byte, done func(), err error) {
	f, err := s.store.Aside()
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	n, err := io.Copy(f, body)
	if err != nil {
		return nil, nil, err
	}
	if err := s.heavy.Acquire(ctx, n); err != nil {
		return nil, nil, err
	}
	raw = make([]byte, n)
	if _, err := f.ReadAt(raw, 0); err != nil {
		s.heavy.Release(n)
		return nil, nil, err
	}
	return raw, func() { s.heavy.Release(n) }, nil
}

// manifestNames says what digest and which tags a push asks for, and checks the
// digest against the bytes.
func manifestNames(r *request, raw []byte) (digest.Digest, []string, error) {
	d, err := digest.Parse(r.ref)
	if err != nil {
		if !layers.ValidTag(r.ref) {
			return "", nil, problem(http.StatusBadRequest, "TAG_INVALID", "invalid tag or digest")
		}
		d = digest.Canonical.FromBytes(raw)
		if q := r.URL.Query().Get("digest"); q != "" {
			if d, err = parseDigest(q); err != nil {
				return "", nil, err
			}
		}
		return d, []string{r.ref}, match(d, raw)
	}
	tags := r.URL.Query()["tag"]
	if len(tags) > maxTagParams {
		return "", nil, problem(http.StatusRequestURITooLong, "TAG_INVALID", "too many tags at once")
	}
	for _, t := range tags {
		if !layers.ValidTag(t) {
			return "", nil, problem(http.StatusBadRequest, "TAG_INVALID", "invalid tag")
		}
	}
	return d, tags, match(d, raw)
}

func match(d digest.Digest, raw []byte) error {
	if d.Algorithm().FromBytes(raw) != d {
		return problem(http.StatusBadRequest, "DIGEST_INVALID", "the digest does not match the manifest")
	}
	return nil
}

// mediaType is the request's content type without parameters.
func mediaType(r *request) string {
	t := r.Header.Get("Content-Type")
	for i, c := range t {
		if c == ';' || c == ' ' {
			return t[:i]
		}
	}
	return t
}

// complete checks that the repository has all that a manifest names, but for
// layers that lie elsewhere by their type. What it only shows because an image of the
// store has it becomes its own: who pushes was told that it is there.
func (s *Server) complete(r *request, m *layers.Manifest) error {
	blobs := m.Layers
	if !m.IsIndex() {
		blobs = append([]ocispec.Descriptor{m.Config}, blobs...)
	}
	for _, b := range blobs {
		if nondistributable[b.MediaType] {
			continue
		}
		if !s.store.HasLink(r.repo, b.Digest) && !(s.o.Local && s.mount(r, r.repo, b.Digest)) {
			return problem(http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", fmt.Sprintf("the repository has no blob %s", b.Digest))
		}
	}
	for _, c := range m.Manifests {
		if _, err := s.store.RepositoryManifest(r.repo, c.Digest); err != nil && !s.adopt(r, c.Digest) {
			return problem(http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", fmt.Sprintf("the repository has no manifest %s", c.Digest))
		}
	}
	return nil
}

// adopt makes a manifest of the store's own images one of the repository that shows it,
// and tells whether there is one.
func (s *Server) adopt(r *request, d digest.Digest) bool {
	if !s.o.Local {
		return false
	}
	desc, err := s.local.manifest(r.Context(), r.repo, string(d))
	if err != nil {
		return false
	}
	raw, err := s.store.ReadManifest(d)
	if err != nil {
		return false
	}
	m, err := layers.ParseManifest(desc.MediaType, raw)
	return err == nil && s.keep(r, m, d, raw) == nil
}

// nondistributable are the layer types that are not pushed.
var nondistributable = map[string]bool{
	"application/vnd.oci.image.layer.nondistributable.v1.tar":      true,
	"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": true,
	"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": true,
	"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":    true,
}

// artifactType is what the referrers API calls a manifest.
func artifactType(m *layers.Manifest) string {
	if m.ArtifactType == "" && !m.IsIndex() {
		return m.Config.MediaType
	}
	return m.ArtifactType
}

// deleteManifest deletes a tag, or a manifest with its tags (end-9).
func (s *Server) deleteManifest(r *request) error {
	unlock, err := s.store.LockRepository(r.Context(), r.repo, true)
	if err != nil {
		return err
	}
	defer unlock()
	d, err := digest.Parse(r.ref)
	if err != nil {
		err = s.store.UntagRepository(r.repo, r.ref)
	} else {
		err = s.store.RemoveRepositoryManifest(r.Context(), r.repo, d, s.subjectOf(d))
	}
	if errors.Is(err, layers.ErrNotFound) {
		return manifestUnknown()
	}
	if err == nil {
		r.w.WriteHeader(http.StatusAccepted)
	}
	return err
}

func (s *Server) subjectOf(d digest.Digest) digest.Digest {
	raw, err := s.store.ReadManifest(d)
	if err != nil {
		return ""
	}
	if m, err := layers.ParseManifest("", raw); err == nil && m.Subject != nil {
		return m.Subject.Digest
	}
	return ""
}
