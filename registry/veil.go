package registry

import (
	"net"
	"net/http"
	"strings"
)

// The library that asks for tokens goes to no private address that a registry gives as
// such, wherever the registry itself is. Whither a registry may send is decided here,
// for names too, by the address that is dialed. So an address that may be near goes past
// the library as if it were a name: with a dot behind it.

// realmOf finds where a challenge sends for tokens: the scheme, the host, and what
// stands around the host.
func realmOf(challenge string) (before, scheme, host, after string) {
	before, realm, _ := strings.Cut(challenge, `realm="`)
	scheme, rest, _ := strings.Cut(realm, "://")
	n := strings.IndexAny(rest+"/", `/?"`)
	return before + `realm="` + scheme + "://", scheme, rest[:n], rest[n:]
}

// veil hides the addresses of token servers that may be near.
func veil(h http.Header, near func(host string) bool) {
	all := h["Www-Authenticate"]
	for i, challenge := range all {
		before, _, host, after := realmOf(challenge)
		bare := bareHost(host)
		if ip := net.ParseIP(bare); ip != nil && ip.To4() != nil && near(host) {
			all[i] = before + bare + "." + strings.TrimPrefix(host, bare) + after
		}
	}
}

// unveiled is a request to where it goes.
func (g *guard) unveiled(req *http.Request) *http.Request {
	bare, ok := strings.CutSuffix(bareHost(req.URL.Host), ".")
	if !ok || net.ParseIP(bare) == nil {
		return req
	}
	host := strings.Replace(req.URL.Host, bare+".", bare, 1)
	if !g.near(host) {
		return req
	}
	req = req.WithContext(req.Context())
	u := *req.URL
	u.Host = host
	req.URL, req.Host = &u, host
	return req
}
