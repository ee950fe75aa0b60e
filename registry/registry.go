// Package registry is the client of registries: it resolves names to manifests,
// and pulls, pushes and lists.
//
// A name resolves to a manifest or an index; the platform is always explicit,
// and a digest in the name rules. Manifests are verified against their digest
// before anybody reads them. Blobs move one by one through a partial file that
// survives the process, so a pull that was killed goes on at the byte where it
// was; a blob becomes visible in the store when its digest was checked.
//
// Credentials come from Docker's config.json and its helpers, and from Podman's
// auth.json. They go to the registry that they are for and nowhere else: a
// redirect to another origin is followed without them.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/auth"
)

// Options say how a client reaches registries.
type Options struct {
	// PlainHTTP names hosts that are spoken to without TLS. Loopback hosts
	// always are.
	PlainHTTP []string
	// Jobs bounds the blobs that move at once; 0 means 4.
	Jobs int
	// Progress, if set, is called for each step of a transfer, from several
	// goroutines.
	Progress func(Event)
}

// Event tells how far one blob is.
type Event struct {
	ID      string // digest
	Action  string // "download", "upload", "exists", "mounted", "unpack", "done"
	Current int64  // bytes
	Total   int64  // bytes, 0 if unknown
}

// Client speaks to registries. It is safe for concurrent use.
type Client struct {
	o    Options
	base http.RoundTripper
	auth auth.Files

	idle  time.Duration // how long a body may bring nothing
	pause time.Duration // before the second try; it doubles
	limit time.Duration // of a pause, whatever the registry asks for
}

// New makes a client.
func New(o Options) *Client {
	if o.Jobs <= 0 {
		o.Jobs = 4
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = time.Minute
	t.MaxIdleConnsPerHost = 8
	t.MaxResponseHeaderBytes = 1 << 20
	t.DisableCompression = true // a transparent gzip would hide the bytes that the digest is of
	c := &Client{o: o, auth: auth.Default(), idle: time.Minute, pause: 400 * time.Millisecond, limit: time.Minute}
	c.base = &guard{inner: t, plain: c.plain}
	return c
}

func (c *Client) event(e Event) {
	if c.o.Progress != nil {
		c.o.Progress(e)
	}
}

// A StatusError is a registry's refusal.
type StatusError struct {
	Status int
	Method string
	URL    string
	Detail string // what the registry says, shortened
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s %s: %d %s", e.Method, e.URL, e.Status, http.StatusText(e.Status))
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// ErrUnreachable says that a registry could not be spoken to at all.
var ErrUnreachable = errors.New("registry cannot be reached")

// session speaks to one repository with the rights it needs.
type session struct {
	c    *Client
	http *http.Client
	base string // scheme://host
	repo string
}

// dial opens a session; actions are "pull" or "pull,push".
func (c *Client) dial(ctx context.Context, n layers.Name, write bool, also ...string) (*session, error) {
	host := n.Registry
	if host == layers.DefaultRegistry {
		host = "index.docker.io"
	}
	opts := []name.Option{name.StrictValidation}
	if c.plain(n.Registry) {
		opts = append(opts, name.Insecure)
	}
	repo, err := name.NewRepository(host+"/"+n.Repository, opts...)
	if err != nil {
		return nil, err
	}
	who, err := authn.Resolve(ctx, c.auth, repo)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", n.Registry, err)
	}
	scopes := []string{repo.Scope(transport.PullScope)}
	if write {
		scopes = []string{repo.Scope(transport.PushScope)}
	}
	for _, r := range also {
		if other, err := name.NewRepository(host+"/"+r, opts...); err == nil {
			scopes = append(scopes, other.Scope(transport.PullScope))
		}
	}
	t, err := transport.NewWithContext(ctx, repo.Registry, who, c.base, scopes)
	if err != nil {
		return nil, dialError(n.Registry, err)
	}
	hc := &http.Client{Transport: t, CheckRedirect: limitRedirects}
	return &session{c: c, http: hc, base: c.scheme(n.Registry) + "://" + repo.RegistryStr(), repo: n.Repository}, nil
}

// dialError tells a refusal from a registry that is not there.
func dialError(host string, err error) error {
	var te *transport.Error
	if errors.As(err, &te) {
		return fmt.Errorf("registry %s: %w", host, &StatusError{Status: te.StatusCode, Method: "GET", URL: "/v2/", Detail: firstLine(te.Error())})
	}
	return fmt.Errorf("%w: %s: %w", ErrUnreachable, host, err)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s[:min(len(s), 300)]
}

// limitRedirects follows few redirects and none from TLS to plain text.
func limitRedirects(req *http.Request, via []*http.Request) error {
	if len(via) >= 5 {
		return errors.New("too many redirects")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("redirect from https to " + req.URL.Scheme)
	}
	return nil
}

// scheme is how a host is spoken to as far as is known before it answers: a
// loopback registry that has TLS is spoken to with TLS all the same.
func (c *Client) scheme(host string) string {
	if c.plain(host) {
		return "http"
	}
	return "https"
}

// plain says whether a host is spoken to without TLS.
func (c *Client) plain(host string) bool {
	if slices.Contains(c.o.PlainHTTP, host) {
		return true
	}
	h := host
	if bare, _, err := net.SplitHostPort(host); err == nil {
		h = bare
	}
	ip := net.ParseIP(strings.Trim(h, "[]"))
	return h == "localhost" || (ip != nil && ip.IsLoopback())
}
