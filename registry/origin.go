package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

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
	// near tells whether this host may send us for tokens to an address that is given as
	// such, and near.
	near func(host string) bool
}

// RoundTrip sends a request, or refuses to.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	onErrand := errand(req)
	req = g.unveiled(req)
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
	if onErrand {
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
	if transfer.SameHost(req.URL.Scheme, req.URL.Host, g.host) {
		resp, err := alone(g.inner, req)
		if err == nil && resp.StatusCode == http.StatusUnauthorized {
			g.others.heed(resp)
			veil(resp.Header, g.near)
		}
		return resp, err
	}
	wire, err := g.others.to(req.URL.Host)
	if err == nil {
		return alone(wire, req)
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
	if !transfer.SameHost(req.URL.Scheme, req.URL.Host, g.host) || len(g.header) == 0 && g.prefix == "" {
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

// handshake marks what is done to log in, with the request on whose way that is, if it
// is on one's.
type handshake struct{}

// shakingHands is a context for a login that is on nobody's way.
func shakingHands(ctx context.Context) context.Context {
	return context.WithValue(ctx, handshake{}, (*url.URL)(nil))
}

// errand tells of the requests of a handshake: they are tried again here, the others by
// those who send them.
func errand(req *http.Request) bool {
	of, ok := req.Context().Value(handshake{}).(*url.URL)
	return ok && of != req.URL
}

// handshake sends a request of the authentication, which has no body worth
// keeping, and tries again what may pass.
func (g *guard) handshake(req *http.Request) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := g.send(req)
		if err == nil {
			err = g.readWhole(resp)
		}
		wait, again := g.patience.After(resp, err, try)
		if !again || req.Context().Err() != nil || err != nil && away(err) || req.Body != nil && req.GetBody == nil {
			if err != nil {
				return nil, err
			}
			return resp, nil
		}
		if err == nil {
			err = g.patience.Refusal(req.Method, resp)
		}
		if err := g.patience.Sleep(req.Context(), err, wait); err != nil {
			return nil, err
		}
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// maxHandshake bounds the answers of an authentication.
const maxHandshake = 64 << 10

// readWhole takes the body of a small answer into memory, so that one that breaks
// off is noticed here, and one without end ends.
func (g *guard) readWhole(resp *http.Response) error {
	raw, err := g.patience.ReadSome(resp.Body, maxHandshake)
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
