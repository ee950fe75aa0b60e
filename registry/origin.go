package registry

import (
	"fmt"
	"net/http"
)

// guard stands between the library that speaks to registries and the network.
// The library falls back to plain text by itself for private addresses and
// names in .local; the guard lets plain text pass to loopback and to the hosts
// that the user named, and to nobody else: neither a registry, nor a server of
// tokens, nor the target of a redirect.
type guard struct {
	inner http.RoundTripper
	plain func(host string) bool
}

// RoundTrip sends a request, or refuses to.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !g.plain(req.URL.Host) {
		return nil, &plainTextError{host: req.URL.Host}
	}
	return g.inner.RoundTrip(req)
}

// plainTextError is a request that would have gone out without TLS.
type plainTextError struct{ host string }

func (e *plainTextError) Error() string {
	return fmt.Sprintf("%s would be spoken to without TLS", e.host)
}

// Hint is what to do about it.
func (e *plainTextError) Hint() string {
	return fmt.Sprintf("--plain-http allows it, if you trust the network as far as %s", e.host)
}
