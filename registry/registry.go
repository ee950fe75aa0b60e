// Package registry is the client of registries: it resolves names to manifests,
// and pulls, pushes, copies, lists and deletes.
//
// A name resolves to a manifest or an index; the platform is always explicit,
// and a digest in the name rules. Manifests are verified against their digest
// before anybody reads them. A layer downloads into a file that survives the
// process, in pieces where it is large, and is verified, decompressed and
// unpacked while it comes in; a pull that was killed goes on at the byte where it
// was. So does a push, where the registry allows it. Nothing is visible in the
// store before its digest was checked.
//
// Where a registry is reached (mirrors, certificates, headers) is read from
// certs.d/HOST/hosts.toml, as containerd has it. Credentials come from Docker's
// config.json and its helpers, and from Podman's auth.json. They go to the
// registry that they are for and nowhere else: a redirect to another origin is
// followed without them.
package registry

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/hodbuild/hod/registry/auth"
	"github.com/hodbuild/hod/registry/transfer"
)

// Options say how a client reaches registries.
type Options struct {
	// PlainHTTP names hosts that are spoken to without TLS. Loopback hosts
	// always are.
	PlainHTTP []string
	// Jobs bounds the blobs that move at once; 0 means 4.
	Jobs int
	// Ranges bounds the pieces of one blob that download at once; 0 means 4.
	Ranges int
	// HostDirs are folders like certs.d, the first to rule first; nil means those
	// of the user and the machine.
	HostDirs []string
	// Progress, if set, is called for each step of a transfer, from several
	// goroutines.
	Progress func(Event)
}

// Event tells how far one blob is.
type Event struct {
	ID      string // digest
	Action  string // "waiting", "download", "upload", "exists", "mounted", "unpack", "done"; "note" is Text about the whole
	Text    string
	Current int64 // bytes
	Total   int64 // bytes, 0 if unknown
}

// StatusError is a registry's refusal.
type StatusError = transfer.StatusError

// ErrUnreachable says that a registry could not be spoken to at all.
var ErrUnreachable = errors.New("registry cannot be reached")

// Client speaks to registries. It is safe for concurrent use.
type Client struct {
	o        Options
	base     *http.Transport
	auth     auth.Files
	patience transfer.Patience
	slots    chan struct{} // bounds the requests that bring blobs

	mu       sync.Mutex // guards what follows
	sessions map[string]*session
	ends     map[string][]*endpoint // by registry
	creds    map[string]authn.Authenticator
	noted    map[blobIn]string // repositories that have a blob
	reached  map[string]reach  // hosts that were asked for, and how far away they are
}

// New makes a client.
func New(o Options) *Client {
	if o.Jobs <= 0 {
		o.Jobs = 4
	}
	if o.Ranges <= 0 {
		o.Ranges = 4
	}
	if o.HostDirs == nil {
		o.HostDirs = hostDirs()
	}
	c := &Client{
		o: o, auth: auth.Default(), slots: make(chan struct{}, 2*max(o.Jobs, o.Ranges)),
		patience: transfer.Patience{Idle: time.Minute, Pause: 400 * time.Millisecond, Limit: time.Minute},
		sessions: map[string]*session{}, ends: map[string][]*endpoint{}, reached: map[string]reach{}, noted: map[blobIn]string{},
		creds: map[string]authn.Authenticator{},
	}
	c.patience.Tell = func(err error, wait time.Duration) {
		c.event(Event{Action: "note", Text: fmt.Sprintf("%v: asked again in %v", err, wait.Round(time.Second))})
	}
	c.base = http.DefaultTransport.(*http.Transport).Clone()
	c.base.ResponseHeaderTimeout = time.Minute
	c.base.MaxIdleConnsPerHost = 16
	c.base.MaxResponseHeaderBytes = 1 << 20
	c.base.DisableCompression = true // a transparent gzip would hide the bytes that the digest is of
	// Over HTTP/2 who gives up a request keeps its connection: one that is dead must be found out.
	c.base.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second}
	c.base.ReadBufferSize, c.base.WriteBufferSize = 64<<10, 64<<10
	c.base.DialContext = c.dialer().DialContext
	c.base.OnProxyConnectResponse = throughProxy
	c.pastProxies(c.base)
	for _, host := range o.PlainHTTP {
		c.expect(host)
	}
	return c
}

func (c *Client) event(e Event) {
	if c.o.Progress != nil {
		c.o.Progress(e)
	}
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
	h := bareHost(host)
	ip := net.ParseIP(h)
	return h == "localhost" || (ip != nil && ip.IsLoopback())
}

// bareHost is a host without its port and brackets.
func bareHost(host string) string {
	if bare, _, err := net.SplitHostPort(host); err == nil {
		host = bare
	}
	return strings.Trim(host, "[]")
}
