package registry

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
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
	base *http.Transport // as it is without any settings
	dirs []string
	ca   *x509.CertPool // of the registry; nil is the machine's

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
		_, realm, _ := strings.Cut(challenge, `realm="https://`)
		if host := realm[:strings.IndexAny(realm+"/", `/?"`)]; host != "" {
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
	conf, err := strangerTLS(w.dirs, host)
	if err != nil {
		return nil, &transfer.FinalError{Err: err}
	}
	if host == w.tokens && w.ca != nil && (conf == nil || conf.RootCAs == nil) {
		if conf == nil {
			conf = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		conf.RootCAs = w.ca
	}
	t := w.base
	if conf != nil {
		t = w.base.Clone()
		t.TLSClientConfig = conf
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
	if set[i].general {
		conf.Certificates = nil
	}
	return conf, nil
}
