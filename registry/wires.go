package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/hodbuild/hod/registry/transfer"
)

// wires lead from a registry to the hosts to which it sends us. What hosts.toml says of a
// host's TLS counts for that host alone: a client's certificate is shown to nobody else,
// and who is trusted without question vouches for nobody. So another host has what
// its own folder says, or what _default says of all but for the certificate that it shows,
// or what is usual on the machine.
//
// One thing is passed on: the registry's authorities vouch for its server of tokens too,
// unless authorities are named for that. Both are often parts of one installation, and
// Docker and containerd trust it so.
type wires struct {
	c  *Client
	ca *x509.CertPool // of the registry; nil is the machine's

	mu     sync.Mutex // guards what follows
	tokens string     // the host that gives tokens
	known  map[other]*http.Transport
}

// other is a host that is not the registry, and whether it gives the registry's tokens.
type other struct {
	host   string
	tokens bool
}

// heed notes where an answer of the registry sends for tokens.
func (w *wires) heed(resp *http.Response) {
	for _, challenge := range resp.Header.Values("WWW-Authenticate") {
		if _, scheme, host, _ := realmOf(challenge); scheme == "https" && host != "" {
			w.mu.Lock()
			w.tokens = host
			w.mu.Unlock()
		}
	}
}

// to gives the transport for a host that is not the registry.
func (w *wires) to(host string) (http.RoundTripper, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := other{host, host == w.tokens}
	if t := w.known[key]; t != nil {
		return t, nil
	}
	conf, err := strangerTLS(w.c.o.HostDirs, host)
	if err != nil {
		return nil, &transfer.FinalError{Err: err}
	}
	if w.c.knows(host) {
		w.c.mu.Lock()
		w.c.expect(host)
		w.c.mu.Unlock()
	}
	if host == w.tokens && w.ca != nil && (conf == nil || conf.RootCAs == nil) {
		if conf == nil {
			conf = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		conf.RootCAs = w.ca
	}
	t := w.c.base
	if conf != nil {
		t = w.c.transport(conf, w.c.dialer())
	}
	w.known[key] = t
	return t, nil
}

// strangerTLS is what hosts.toml says of a host to which somebody else sent us.
func strangerTLS(dirs []string, host string) (*tls.Config, error) {
	set, err := readHosts(dirs, host)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(set, func(h hostConfig) bool { return h.host == "" || h.host == host })
	if i < 0 || set[i].tls == nil {
		return nil, nil
	}
	conf := set[i].tls
	if set[i].folder == everyHost {
		conf.Certificates = nil
	}
	return conf, nil
}

// transport is one with settings of its own; conf nil is the machine's usual.
func (c *Client) transport(conf *tls.Config, d *guardedDialer) *http.Transport {
	t := c.base.Clone()
	t.TLSClientConfig, t.DialContext = conf, d.DialContext
	c.pastProxies(t)
	return t
}

// pastProxies has a transport speak to proxies with the TLS settings of the proxies.
// net/http would use its own, which are those of the registry behind the proxy: show its
// certificate, or believe any proxy because any registry is believed.
func (c *Client) pastProxies(t *http.Transport) {
	secret := func(u *url.URL) bool { return u.Scheme == "https" }
	if t.DialTLSContext = nil; !slices.ContainsFunc(proxies(), secret) {
		return
	}
	t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conf := t.TLSClientConfig // net/http has put into it what it speaks
		at := func(u *url.URL) bool {
			return secret(u) && addr == net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443"))
		}
		if slices.ContainsFunc(proxies(), at) {
			var err error
			if conf, err = strangerTLS(c.o.HostDirs, strings.TrimSuffix(addr, ":443")); err != nil {
				return nil, &transfer.FinalError{Err: err}
			}
		}
		return dialTLS(ctx, t, conf, network, addr)
	}
}

// dialTLS does what net/http would do.
func dialTLS(ctx context.Context, t *http.Transport, conf *tls.Config, network, addr string) (net.Conn, error) {
	if conf = conf.Clone(); conf == nil {
		conf = &tls.Config{}
	}
	conf.ServerName = cmp.Or(conf.ServerName, bareHost(addr))
	conn, err := t.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.TLSHandshakeTimeout)
	defer cancel()
	secret := tls.Client(conn, conf)
	if err := secret.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secret, nil
}

// throughProxy says of a proxy that does not let us through that it was the proxy.
func throughProxy(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusOK:
		return nil
	case resp.StatusCode >= http.StatusInternalServerError: // which may pass
		return &transfer.StatusError{Status: resp.StatusCode, Method: http.MethodConnect, URL: "by way of the proxy " + proxy.Host}
	}
	return &proxyError{proxy: proxy.Host, status: transfer.Printable(resp.Status), code: resp.StatusCode}
}

// proxyError is a proxy's refusal.
type proxyError struct {
	proxy, status string
	code          int
}

func (e *proxyError) Error() string { return fmt.Sprintf("the proxy %s answers %s", e.proxy, e.status) }

// Hint is what to do about it.
func (e *proxyError) Hint() string {
	if e.code == http.StatusProxyAuthRequired {
		return "HTTPS_PROXY=http://USER:PASSWORD@" + e.proxy + " tells the proxy who asks"
	}
	return "HTTPS_PROXY names that proxy, NO_PROXY the hosts that are reached without it"
}
