package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/transfer"
)

// session speaks to one repository with the rights it needs: through the mirrors
// of its registry where it only reads, else with the registry itself.
type session struct {
	c    *Client
	ways []*way
}

// way is one host that may serve the repository; it is spoken to when it is
// needed.
type way struct {
	open func(context.Context) (*transfer.Line, error)

	mu   sync.Mutex // guards line
	line *transfer.Line
}

// get opens the line once; after a failure the next call tries again.
func (w *way) get(ctx context.Context) (*transfer.Line, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.line != nil {
		return w.line, nil
	}
	var err error
	w.line, err = w.open(ctx)
	return w.line, err
}

// each asks the hosts in turn until one has an answer. The last error counts, but
// for one that only says that there is no way to a host.
func (s *session) each(ctx context.Context, fn func(*transfer.Line) error) error {
	var worst error
	for _, w := range s.ways {
		l, err := w.get(ctx)
		if err == nil {
			err = fn(l)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		if worst == nil || !errors.Is(err, ErrUnreachable) {
			worst = err
		}
	}
	return worst
}

// blobWays are the hosts for downloads.
func (s *session) blobWays() []transfer.Way {
	ways := make([]transfer.Way, len(s.ways))
	for i, w := range s.ways {
		ways[i] = w.get
	}
	return ways
}

// writer is the line that is written to.
func (s *session) writer(ctx context.Context) (*transfer.Line, error) { return s.origin().get(ctx) }

// origin is the registry itself.
func (s *session) origin() *way { return s.ways[len(s.ways)-1] }

// What a session may be for, in the words of token servers.
const (
	toPull   = "pull"
	toPush   = "push,pull"
	toDelete = "pull,push,delete"
	toList   = "*" // the registry's catalog
)

// dial opens a session; also names repositories of the registry from which blobs
// may be linked.
func (c *Client) dial(n layers.Name, action string, also ...string) (*session, error) {
	key := fmt.Sprint(n.Registry, "/", n.Repository, action, also)
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sessions[key]; s != nil {
		return s, nil
	}
	ends, err := c.endpoints(n.Registry)
	if err != nil {
		return nil, err
	}
	s := &session{c: c}
	for _, e := range ends {
		if reads := action == toPull || action == toList; reads && !e.pull || !reads && !e.push {
			continue
		}
		s.ways = append(s.ways, &way{open: func(ctx context.Context) (*transfer.Line, error) {
			return c.line(ctx, e, n, action, also)
		}})
	}
	if len(s.ways) == 0 {
		return nil, fmt.Errorf("hosts.toml of %s names no host for %s", n.Registry, action)
	}
	c.sessions[key] = s
	return s, nil
}

// line is a way to a host, which authenticates when the host asks for it.
func (c *Client) line(ctx context.Context, e *endpoint, n layers.Name, action string, also []string) (*transfer.Line, error) {
	opts := []name.Option{name.StrictValidation}
	if e.scheme == "http" {
		opts = append(opts, name.Insecure)
	}
	repo, err := name.NewRepository(e.host+"/"+n.Repository, opts...)
	if err != nil {
		return nil, err
	}
	who, err := c.credential(ctx, repo)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", e.host, err)
	}
	scopes := []string{repo.Scope(action)}
	if action == toList {
		scopes = []string{repo.Registry.Scope(action)}
	}
	for _, r := range also {
		if other, err := name.NewRepository(e.host+"/"+r, opts...); err == nil {
			scopes = append(scopes, other.Scope(transport.PullScope))
		}
	}
	t := &lazy{base: e.rt, host: e.host, plain: e.scheme == "http", named: who != authn.Anonymous, patience: c.patience}
	t.login = func(ctx context.Context, challenge *http.Response) (http.RoundTripper, error) {
		rt := http.RoundTripper(&answered{e.rt, e.scheme, challenge})
		rt, err := transport.NewWithContext(shakingHands(ctx), repo.Registry, who, rt, scopes)
		if err != nil {
			return nil, dialError(e.host, err)
		}
		return rt, nil
	}
	l := &transfer.Line{
		HTTP: &http.Client{Transport: t, CheckRedirect: limitRedirects}, Base: e.scheme + "://" + e.host,
		Repository: n.Repository, Patience: c.patience,
	}
	if e.mirror {
		l.Namespace = n.Registry
	}
	return l, nil
}

// credential finds a repository's once: a helper may take its time.
func (c *Client) credential(ctx context.Context, repo name.Repository) (authn.Authenticator, error) {
	c.mu.Lock()
	who := c.creds[repo.String()]
	c.mu.Unlock()
	if who != nil {
		return who, nil
	}
	who, err := authn.Resolve(ctx, c.auth, repo)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.creds[repo.String()] = who
	return who, nil
}

// dialError tells a refusal from a registry that is not there.
func dialError(host string, err error) error {
	var te *transport.Error
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) { // that it speaks no plain text either says nothing
		return unreachable(host, certificate)
	}
	if errors.As(err, &te) {
		refusal := &StatusError{Status: te.StatusCode, Method: "GET", URL: "/v2/", Detail: firstLine(te.Error())}
		return &transfer.FinalError{Err: fmt.Errorf("registry %s: %w", host, refusal)}
	}
	return unreachable(host, err)
}

// reason leaves out which request it was that failed, where every one would have.
func reason(err error) error {
	var request *url.Error
	if !errors.As(err, &request) {
		return err
	}
	return request.Err
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return transfer.Printable(s)
}

// limitRedirects follows few redirects and none from TLS to plain text. Where we come
// from is nobody's business: the address of an upload is all that one needs to write
// into it.
func limitRedirects(req *http.Request, via []*http.Request) error {
	req.Header.Del("Referer")
	if len(via) >= 5 {
		return errors.New("too many redirects")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("redirect from https to " + req.URL.Scheme)
	}
	return nil
}

// endpoint is one host that serves a registry, or a mirror of it.
type endpoint struct {
	scheme, host string
	pull, push   bool
	mirror       bool
	rt           http.RoundTripper
}

// endpoints are the hosts of a registry, in the order in which they are asked: the same
// ones, with their connections, for all sessions. The caller holds the client's lock.
func (c *Client) endpoints(registry string) ([]*endpoint, error) {
	if ends := c.ends[registry]; ends != nil {
		return ends, nil
	}
	host := registry
	if host == layers.DefaultRegistry {
		host = "index.docker.io"
	}
	set, err := readHosts(c.o.HostDirs, registry)
	if err != nil {
		return nil, err
	}
	var ends []*endpoint
	for _, h := range set {
		e, err := c.endpoint(h, host)
		if err != nil {
			return nil, err
		}
		ends = append(ends, e)
	}
	c.ends[registry] = ends
	return ends, nil
}

// endpoint makes the transport that a host wants.
func (c *Client) endpoint(h hostConfig, server string) (*endpoint, error) {
	e := &endpoint{scheme: h.scheme, host: h.host, mirror: h.mirror}
	if e.host == "" {
		e.host = server
	}
	if e.scheme == "" {
		e.scheme = c.scheme(e.host)
	}
	e.pull = h.capabilities == nil || slices.Contains(h.capabilities, "pull")
	e.push = h.capabilities == nil && !h.mirror || slices.Contains(h.capabilities, "push")
	inner := c.base
	if h.tls != nil || h.dialTimeout > 0 {
		d := c.dialer()
		d.Timeout = cmp.Or(h.dialTimeout, d.Timeout)
		inner = c.transport(h.tls, d)
	}
	plain := func(host string) bool { return c.plain(host) || e.scheme == "http" && host == e.host }
	others := &wires{c: c, known: map[other]*http.Transport{}}
	if h.tls != nil {
		others.ca = h.tls.RootCAs
	}
	e.rt = &guard{inner: inner, others: others, plain: plain, patience: c.patience, host: e.host, header: h.header, prefix: h.path,
		near: func(host string) bool { return c.mayBeNear(e.host, host) }}
	c.expect(e.host)
	return e, nil
}
