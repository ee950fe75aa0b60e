package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/hodbuild/hod/registry/transfer"
)

// guard stands between the library that speaks to registries and the network.
// The library falls back to plain text by itself for private addresses and
// names in .local; the guard lets plain text pass to loopback and to the hosts
// that the user named, and to nobody else: neither a registry, nor a server of
// tokens, nor the target of a redirect. To its own host it adds what hosts.toml
// asks for.
type guard struct {
	inner    http.RoundTripper // to its own host
	others   *wires            // to those to which that sends us
	plain    func(host string) bool
	patience transfer.Patience
	host     string      // whose guard it is
	header   http.Header // for this host alone
	prefix   string      // in place of /v2
}

// RoundTrip sends a request, or refuses to.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !g.plain(req.URL.Host) {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, &plainTextError{host: req.URL.Host}
	}
	if strays(req) {
		req.Body.Close()
		return nil, &transfer.FinalError{Err: fmt.Errorf("%s wants a credential sent on to %s://%s, another origin", req.Response.Request.URL.Host, req.URL.Scheme, req.URL.Host)}
	}
	req = g.own(req)
	if req.Context().Value(handshake{}) != nil {
		return g.handshake(req)
	}
	resp, err := g.send(req)
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) { // no other try mends that, in the middle of a transfer neither
		err = unreachable(req.URL.Host, certificate)
	}
	return resp, err
}

// send sends a request over the wire to where it goes.
func (g *guard) send(req *http.Request) (*http.Response, error) {
	if strings.TrimSuffix(req.URL.Host, ":443") == strings.TrimSuffix(g.host, ":443") {
		resp, err := g.inner.RoundTrip(req)
		if err == nil && resp.StatusCode == http.StatusUnauthorized {
			g.others.heed(resp)
		}
		return resp, err
	}
	wire, err := g.others.to(req.URL.Host)
	if err == nil {
		return wire.RoundTrip(req)
	}
	if req.Body != nil {
		req.Body.Close()
	}
	return nil, err
}

// strays tells of a form, in which token servers are shown refresh tokens, that a
// redirect (307, 308) would have sent again to another origin.
func strays(req *http.Request) bool {
	if req.Response == nil || req.Body == nil || req.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		return false
	}
	from := req.Response.Request.URL
	return from.Scheme != req.URL.Scheme || from.Host != req.URL.Host
}

// own changes a request to the guard's own host as hosts.toml says.
func (g *guard) own(req *http.Request) *http.Request {
	if req.URL.Host != g.host || g.header == nil && g.prefix == "" {
		return req
	}
	req = req.Clone(req.Context())
	for k, v := range g.header {
		req.Header[k] = v
	}
	if rest, ok := strings.CutPrefix(req.URL.Path, "/v2"); ok && g.prefix != "" {
		req.URL.Path, req.URL.RawPath = g.prefix+rest, ""
	}
	return req
}

// handshake sends a request of the authentication, which has no body worth
// keeping, and tries again what may pass.
func (g *guard) handshake(req *http.Request) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := g.send(req)
		if err == nil {
			err = readWhole(resp)
		}
		wait, again := g.patience.After(resp, err, try)
		if !again || err != nil && away(err) || req.Body != nil && req.GetBody == nil {
			if err != nil {
				return nil, err
			}
			return resp, nil
		}
		if err := g.patience.Sleep(req.Context(), refusedOr(resp, err), wait); err != nil {
			return nil, err
		}
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// refusedOr is why a handshake is tried again.
func refusedOr(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	return transfer.Refusal(resp.Request.Method, resp)
}

// maxHandshake bounds the answers of an authentication.
const maxHandshake = 64 << 10

// readWhole takes the body of a small answer into memory, so that one that breaks
// off is noticed here, and one without end ends.
func readWhole(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxHandshake))
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	return err
}

// plainTextError is a request that would have gone out without TLS.
type plainTextError struct{ host string }

func (e *plainTextError) Error() string {
	return fmt.Sprintf("%s would be spoken to without TLS", e.host)
}

// Hint is what to do about it.
func (e *plainTextError) Hint() string {
	return fmt.Sprintf("--plain-http %s allows it, if you trust the network as far as there", e.host)
}

// reach is how far away an address is.
type reach int

const (
	nowhere reach = iota // a link's own addresses: no registry lives there, a cloud's keys do
	loopback
	private
	public
)

func reachOf(ip net.IP) reach {
	switch {
	case ip == nil, ip.IsLinkLocalUnicast(), ip.IsLinkLocalMulticast(), ip.IsMulticast(), ip.IsUnspecified():
		return nowhere
	case ip.IsLoopback():
		return loopback
	case ip.IsPrivate():
		return private
	}
	return public
}

// expect notes a host that the user or a configuration named. The caller holds
// the client's lock.
func (c *Client) expect(host string) {
	if _, known := c.reached[bareHost(host)]; !known {
		c.reached[bareHost(host)] = public
	}
}

// dialer connects to hosts that the user named wherever they are. To others, to
// which a registry sends us for tokens, pages or blobs, it connects only if they
// are no nearer to this machine than the registry itself: a registry in the
// world must not make us ask what listens here, or on the network around. What
// counts is the address after the name was looked up.
func (c *Client) dialer() *guardedDialer {
	return &guardedDialer{c: c, Timeout: 30 * time.Second}
}

type guardedDialer struct {
	c       *Client
	Timeout time.Duration
}

// DialContext connects to host:port.
func (g *guardedDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host := bareHost(addr)
	d := net.Dialer{Timeout: g.Timeout, KeepAlive: 30 * time.Second}
	d.Control = func(_, address string, _ syscall.RawConn) error {
		return g.c.admit(host, net.ParseIP(bareHost(address)))
	}
	return d.DialContext(ctx, network, addr)
}

// admit decides about one address of a host.
func (c *Client) admit(host string, ip net.IP) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := reachOf(ip)
	if _, named := c.reached[host]; named || isProxy(host) {
		c.reached[host] = min(c.reached[host], at)
		return nil
	}
	nearest := public
	for _, r := range c.reached {
		nearest = min(nearest, r)
	}
	if at == nowhere || at < nearest {
		return fmt.Errorf("%w: %s is at %s", errNearer, host, ip)
	}
	return nil
}

// errNearer is a server that points to an address where no stranger should send us.
var errNearer = errors.New("the registry points to a server on this machine or its network")

// isProxy tells of the proxies that the environment names.
func isProxy(host string) bool {
	for _, key := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"} {
		v := os.Getenv(key)
		if !strings.Contains(v, "://") {
			v = "http://" + v
		}
		if u, err := url.Parse(v); err == nil && u.Hostname() != "" && u.Hostname() == host {
			return true
		}
	}
	return false
}
