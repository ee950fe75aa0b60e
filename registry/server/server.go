// Package server is a registry: the OCI distribution specification 1.1 over a
// store of layers, safe to expose.
//
// A repository shows only the blobs that are linked into it. Pushing links; a
// mount links what another repository that the caller may read already shows.
// A manifest may be pushed when the repository shows all that it names. Tags
// and referrers are small files beside the links, so that collection, other
// servers and other hod processes may use the same store at the same time.
//
// Everything streams: memory does not grow with blobs. What was answered with
// 201 is on disk.
package server

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"
)

// Options say what a server allows.
type Options struct {
	ReadOnly bool  // refuse everything that writes
	NoDelete bool  // refuse deletes
	Sparse   bool  // accept manifests that name what the repository does not show
	MaxBlob  int64 // bytes of one blob; 0 means 64 GiB
	Local    bool  // show the store's own images, too
	Auth     *Auth // nil lets everybody in
	Log      *log.Logger
	// URL is where clients reach the server, if that is not what they say in their
	// Host header.
	URL string
	// Hosts, if not empty, are the names by which the server may be called besides
	// those of loopback.
	Hosts []string
	// BodyIdle is how long a body may rest; 0 means a minute.
	BodyIdle time.Duration
	// MaxUploads is how many uploads are open at once; 0 means 1000.
	MaxUploads int
}

// Server answers the requests. Make it with New.
type Server struct {
	store *layers.Store
	o     Options
	users atomic.Pointer[Auth] // nil lets everybody in
	local local
	key   []byte // seals tokens
	now   func() time.Time
	count counters
	heavy *semaphore.Weighted         // bytes of large manifests
	pages *http.CrossOriginProtection // against web pages of others

	uploadRest time.Duration // how long an upload must rest to make room for another
}

// New makes the handler of a registry over a store, which stays the caller's.
func New(store *layers.Store, o Options) *Server {
	if o.MaxBlob == 0 {
		o.MaxBlob = 64 << 30
	}
	if o.BodyIdle == 0 {
		o.BodyIdle = bodyIdle
	}
	if o.MaxUploads == 0 {
		o.MaxUploads = 1000
	}
	s := &Server{store: store, o: o, local: local{store}, key: newKey(), now: time.Now, heavy: semaphore.NewWeighted(maxHeavy),
		pages: http.NewCrossOriginProtection(), uploadRest: time.Minute}
	s.users.Store(o.Auth)
	return s
}

// SetAuth lets in, from the next request on, whom a lets in. A server that had users
// must not get nil: it would let everybody in.
func (s *Server) SetAuth(a *Auth) { s.users.Store(a) }

func (s *Server) auth() *Auth { return s.users.Load() }

// request is one call with its path taken apart.
type request struct {
	*http.Request
	w    http.ResponseWriter
	user string // empty if unknown
	repo string
	ref  string // tag, digest or upload ID
}

type handler func(*Server, *request) error

// routes are the endpoints of the specification by kind and method.
var routes = map[string]map[string]handler{
	"base":      {"GET": (*Server).base, "HEAD": (*Server).base},
	"token":     {"GET": (*Server).token, "HEAD": (*Server).token},
	"metrics":   {"GET": (*Server).showMetrics, "HEAD": (*Server).showMetrics},
	"catalog":   {"GET": (*Server).catalog, "HEAD": (*Server).catalog},
	"tags":      {"GET": (*Server).tags, "HEAD": (*Server).tags},
	"manifest":  {"GET": (*Server).getManifest, "HEAD": (*Server).getManifest, "PUT": (*Server).putManifest, "DELETE": (*Server).deleteManifest},
	"blob":      {"GET": (*Server).getBlob, "HEAD": (*Server).getBlob, "DELETE": (*Server).deleteBlob},
	"uploads":   {"POST": (*Server).startUpload},
	"upload":    {"GET": (*Server).uploadStatus, "PATCH": (*Server).patchUpload, "PUT": (*Server).finishUpload, "DELETE": (*Server).cancelUpload},
	"referrers": {"GET": (*Server).referrers, "HEAD": (*Server).referrers},
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	cw := &countingWriter{ResponseWriter: w, status: http.StatusOK}
	s.count.begin()
	r = s.paceRequest(cw, r)
	defer func() { s.count.end(r.Method, cw.status, cw.bytes, time.Since(start)) }()
	defer s.panicked(r)
	s.serve(cw, r)
	cw.pace.begin() // an answer to which nothing was written goes out now
	if s.o.Log != nil {
		s.o.Log.Printf("%s %s %.600q %d %d %s", clientHost(r), methodOf(r), r.URL.Path, cw.status, cw.bytes, time.Since(start).Round(time.Microsecond))
	}
}

// panicked writes a mistake of ours down, which ends this connection and no other.
func (s *Server) panicked(r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p != http.ErrAbortHandler {
		s.log("error: %s %.600q: panic: %v\n%s", methodOf(r), r.URL.Path, p, debug.Stack())
	}
	panic(http.ErrAbortHandler)
}

// methodOf is a request's method as it is logged: HTTP/2 lets one have spaces.
func methodOf(r *http.Request) string {
	if strings.ContainsFunc(r.Method, func(c rune) bool { return c < 'A' || c > 'Z' }) {
		return fmt.Sprintf("%.20q", r.Method)
	}
	return r.Method
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		s.health(w, r)
		return
	}
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !s.expected(r) {
		writeError(w, problem(http.StatusMisdirectedRequest, "DENIED", "this server is not called that: hod serve --host NAME says how else it is called"))
		return
	}
	if s.pages.Check(r) != nil { // no web page may write, though a browser sends it to this machine
		writeError(w, problem(http.StatusForbidden, "DENIED", "the request comes from a page of another site"))
		return
	}
	kind, repo, ref := route(r.URL.EscapedPath())
	methods, ok := routes[kind]
	if !ok {
		writeError(w, problem(http.StatusNotFound, "UNSUPPORTED", "no such endpoint"))
		return
	}
	if repo != "" && !layers.ValidRepository(repo) {
		writeError(w, problem(http.StatusBadRequest, "NAME_INVALID", "invalid repository name"))
		return
	}
	user, err := s.admit(w, r, kind, repo)
	if err != nil {
		writeError(w, err)
		return
	}
	h, ok := methods[r.Method]
	if !ok {
		writeError(w, problem(http.StatusMethodNotAllowed, "UNSUPPORTED", "the method is not allowed here"))
		return
	}
	if err := s.allowed(r); err != nil {
		writeError(w, err)
		return
	}
	if err := h(s, &request{Request: r, w: w, user: user, repo: repo, ref: ref}); err != nil {
		s.fail(w, r, err)
	}
}

// allowed refuses what a read-only server does not do.
func (s *Server) allowed(r *http.Request) error {
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case s.o.ReadOnly && !read:
		return problem(http.StatusMethodNotAllowed, "UNSUPPORTED", "the registry is read-only")
	case s.o.NoDelete && r.Method == http.MethodDelete && !strings.Contains(r.URL.Path, "/blobs/uploads/"):
		return problem(http.StatusMethodNotAllowed, "UNSUPPORTED", "deleting is not allowed")
	}
	return nil
}

// fail turns an error of a handler into the status that the specification names.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *problemError
	var offset *layers.OffsetError
	var mismatch *layers.DigestError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &offset):
		p = problem(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "the chunk does not begin where the upload ends")
	case errors.As(err, &mismatch):
		p = problem(http.StatusBadRequest, "DIGEST_INVALID", "the digest does not match the content")
	case errors.As(err, &tooLarge):
		p = problem(http.StatusRequestEntityTooLarge, "SIZE_INVALID", "the body is too large")
	case errors.Is(err, layers.ErrBusy):
		p = problem(http.StatusConflict, "BLOB_UPLOAD_INVALID", "another request writes this upload")
	case r.Context().Err() != nil:
		return // nobody listens
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		s.log("error: %s %q: %v", r.Method, r.URL.Path, err)
		p = problem(http.StatusInsufficientStorage, "DENIED", "the registry's disk is full")
	default:
		s.log("error: %s %q: %v", r.Method, r.URL.Path, err)
		p = problem(http.StatusInternalServerError, "UNKNOWN", "internal error")
	}
	writeError(w, p)
}

func (s *Server) log(format string, a ...any) {
	if s.o.Log != nil {
		s.o.Log.Printf(format, a...)
	}
}

func (s *Server) base(r *request) error {
	r.w.Header().Set("Content-Type", "application/json")
	_, err := r.w.Write([]byte("{}"))
	return err
}

// route takes a path apart. Names hold slashes, so the endings decide; an
// escaped slash or percent sign is in no name, so such paths end nowhere.
func route(path string) (kind, repo, ref string) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	switch {
	case path == "/v2" || path == "/v2/":
		return "base", "", ""
	case path == "/metrics":
		return "metrics", "", ""
	case !ok:
		return "", "", ""
	case rest == "_catalog":
		return "catalog", "", ""
	case rest == "_token":
		return "token", "", ""
	}
	rest = unescapeColon(rest)
	if name, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return "tags", name, ""
	}
	if name, ok := cutUploads(rest); ok {
		return "uploads", name, ""
	}
	i := strings.LastIndexByte(rest, '/')
	if i < 0 {
		return "", "", ""
	}
	head, last := rest[:i], rest[i+1:]
	for _, e := range []struct{ suffix, kind string }{{"/blobs/uploads", "upload"}, {"/manifests", "manifest"}, {"/blobs", "blob"}, {"/referrers", "referrers"}} {
		if name, ok := strings.CutSuffix(head, e.suffix); ok {
			return e.kind, name, last
		}
	}
	return "", "", ""
}

func cutUploads(rest string) (string, bool) {
	if name, ok := strings.CutSuffix(rest, "/blobs/uploads/"); ok {
		return name, true
	}
	return strings.CutSuffix(rest, "/blobs/uploads")
}

// unescapeColon reads the one escape that clients write into digests.
func unescapeColon(s string) string {
	return strings.NewReplacer("%3A", ":", "%3a", ":").Replace(s)
}

// parseDigest checks a digest of a path or query before anything uses it.
func parseDigest(s string) (digest.Digest, error) {
	d, err := digest.Parse(s)
	if err != nil {
		return "", problem(http.StatusBadRequest, "DIGEST_INVALID", "invalid digest")
	}
	return d, nil
}

type countingWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
	pace   *paced
}

func (c *countingWriter) WriteHeader(status int) {
	c.status = status
	c.pace.begin()
	c.ResponseWriter.WriteHeader(status)
}

func (c *countingWriter) Write(p []byte) (int, error) {
	c.pace.begin()
	n, err := c.ResponseWriter.Write(p)
	c.bytes += int64(n)
	c.pace.passed(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (c *countingWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func clientHost(r *http.Request) string {
	host, _, _ := strings.Cut(r.RemoteAddr, "]:")
	if i := strings.LastIndexByte(host, ':'); i > 0 && !strings.HasPrefix(host, "[") {
		host = host[:i]
	}
	return strings.TrimPrefix(host, "[")
}
