package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/hodbuild/hod/registry/transfer"
)

// lazy speaks to a host of which nobody knows yet whether it asks for
// credentials. The first request goes without any, and the answer tells: a
// registry that asks for nothing costs no round trip more, and the first 401 is
// the challenge that a question for it would have brought.
type lazy struct {
	base  http.RoundTripper
	host  string
	plain bool // it is spoken to without TLS, as far as is known
	named bool // there is a credential for it

	patience transfer.Patience
	// login makes the transport that authenticates. challenge is the host's 401; nil
	// is a host that must be asked for it.
	login func(ctx context.Context, challenge *http.Response) (http.RoundTripper, error)

	mu    sync.Mutex        // guards what follows; it is held while somebody logs in
	rt    http.RoundTripper // nil as long as nobody had to log in
	known bool              // the host answered somebody unknown
}

// RoundTrip sends a request, again with credentials where they are asked for.
func (l *lazy) RoundTrip(req *http.Request) (*http.Response, error) {
	rt, known := l.state()
	if rt != nil {
		return l.carry(rt, req)
	}
	if !transfer.SameHost(req.URL.Scheme, req.URL.Host, l.host) {
		return l.base.RoundTrip(req)
	}
	repeatable := req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
	if !repeatable && known {
		return l.base.RoundTrip(req)
	}
	if !repeatable {
		return l.again(req, nil)
	}
	resp, err := l.base.RoundTrip(req)
	if err != nil && !known && away(err) && !errors.Is(err, ErrUnreachable) {
		return nil, unreachable(l.host, err)
	}
	if !l.doubts(resp, err, known) {
		return resp, l.note(err)
	}
	var challenge *http.Response
	if err == nil {
		_, _ = l.patience.ReadSome(resp.Body, maxHandshake) // so that the connection is used again
		if resp.StatusCode == http.StatusUnauthorized {
			challenge = resp
		}
	}
	if req.GetBody != nil {
		if req.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	return l.again(req, challenge)
}

func (l *lazy) state() (http.RoundTripper, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rt, l.known
}

// note remembers that the host answers who has not logged in.
func (l *lazy) note(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = l.known || err == nil
	return err
}

// doubts tells whether the answer to somebody unknown may not be the last word:
// the host wants to know who asks, or hides what there is from strangers, or
// speaks TLS where we did not.
func (l *lazy) doubts(resp *http.Response, err error, known bool) bool {
	var dns *net.DNSError
	if err != nil {
		return l.plain && !known && !errors.As(err, &dns)
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return true
	case http.StatusForbidden, http.StatusNotFound:
		return l.named
	case http.StatusBadRequest:
		return l.plain && !known
	}
	at, lerr := resp.Location()
	return l.plain && lerr == nil && resp.StatusCode < 400 && resp.StatusCode >= 300 && at.Scheme == "https" && at.Hostname() == bareHost(l.host)
}

// again logs in, unless somebody else did meanwhile, and sends the request.
func (l *lazy) again(req *http.Request, challenge *http.Response) (*http.Response, error) {
	l.mu.Lock()
	if l.rt == nil {
		rt, err := l.login(req.Context(), challenge)
		if err != nil {
			l.mu.Unlock()
			if req.Body != nil {
				req.Body.Close()
			}
			return nil, err
		}
		l.rt = rt
	}
	rt := l.rt
	l.mu.Unlock()
	return l.carry(rt, req)
}

// carry sends a request with credentials. A token that has run out is asked for anew on
// its way; a refusal of that is the host's.
func (l *lazy) carry(rt http.RoundTripper, req *http.Request) (*http.Response, error) {
	resp, err := rt.RoundTrip(req.WithContext(context.WithValue(req.Context(), handshake{}, req.URL)))
	var refused *transport.Error
	if errors.As(err, &refused) {
		return nil, dialError(l.host, err)
	}
	return resp, err
}

// away tells of failures before there was a connection to a registry at all: no
// other try mends them.
func away(err error) bool {
	var op *net.OpError
	var plain *plainTextError
	var proxy *proxyError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var timeout net.Error
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsTemporary && !dns.IsNotFound { // the name server had no answer, not even that there is none
		return false
	}
	return errors.As(err, &op) && slices.Contains([]string{"dial", "proxyconnect", "remote error", "local error"}, op.Op) ||
		errors.As(err, &plain) || errors.As(err, &proxy) || errors.As(err, &certificate) || errors.As(err, &record) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// unreachable is a host to which there was no way.
func unreachable(host string, err error) error {
	var record tls.RecordHeaderError
	if errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/" {
		err = http.ErrSchemeMismatch
	}
	return &transfer.FinalError{Err: fmt.Errorf("%w: %s: %w", ErrUnreachable, host, reason(err))}
}

// answered gives the question for a challenge the answer that came already.
type answered struct {
	http.RoundTripper
	scheme    string
	challenge *http.Response // nil is none
}

func (a *answered) RoundTrip(req *http.Request) (*http.Response, error) {
	if asks := req.Method == http.MethodGet && req.URL.Path == "/v2/"; !asks || a.challenge == nil {
		return a.RoundTripper.RoundTrip(req)
	}
	if req.URL.Scheme != a.scheme {
		return nil, errors.New("it answered without TLS")
	}
	return &http.Response{
		StatusCode: a.challenge.StatusCode, Header: a.challenge.Header, Body: http.NoBody, Request: req,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}
