package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hodbuild/hod/registry/server"
)

// secured is a server with TLS that takes a client's certificate if it is shown one.
type secured struct {
	*httptest.Server
	host    string
	calls   atomic.Int64
	members atomic.Int64 // requests on connections that showed a certificate
}

func secure(t *testing.T, cert, key []byte, h http.Handler) *secured {
	t.Helper()
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := &secured{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		if len(r.TLS.PeerCertificates) > 0 {
			s.members.Add(1)
		}
		h.ServeHTTP(w, r)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	s.host = strings.TrimPrefix(s.URL, "https://")
	return s
}

// TestTLSIsOfOneHost has a registry that sends its client elsewhere, for a layer or for a
// token: what hosts.toml says of the registry's TLS counts for the registry. A server of
// tokens may have its certificate from the registry's authority (A4, G2).
func TestTLSIsOfOneHost(t *testing.T) {
	home, homeKey := identity(t)
	other, otherKey := identity(t)
	const member = "ca = \"home.pem\"\nclient = [[\"home.pem\", \"home.key\"]]\n"
	for name, row := range map[string]struct {
		home, away, all string // hosts.toml of the registry, of the other host, of all that have none
		token           bool   // the other host gives tokens, not a layer
		sister          bool   // its certificate is the registry's authority's
		shown, ok       bool   // it is shown a certificate, and all goes well
	}{
		"a layer":                               {home: member, away: "ca = \"other.pem\"\n", ok: true},
		"a layer, the registry's authority":     {home: member, sister: true},
		"a layer, a certificate of its own":     {home: member, away: "ca = \"other.pem\"\nclient = [[\"other.pem\", \"other.key\"]]\n", shown: true, ok: true},
		"a layer, unverified registry":          {home: "skip_verify = true\n"},
		"a layer, unverified host":              {home: member, away: "skip_verify = true\n", ok: true},
		"a layer, settings for all":             {home: member, all: "ca = \"other.pem\"\nclient = [[\"home.pem\", \"home.key\"]]\n", ok: true},
		"a layer, an authority that is missing": {home: member, away: "ca = \"none.pem\"\n"},
		"a token":                               {home: member, token: true},
		"a token, the registry's authority":     {home: member, token: true, sister: true, ok: true},
		"a token, a certificate of its own":     {home: member, away: "client = [[\"other.pem\", \"other.key\"]]\n", token: true, sister: true, shown: true, ok: true},
		"a token, unverified registry":          {home: "skip_verify = true\n", token: true},
		"a token, the host's own authority":     {home: member, away: "ca = \"other.pem\"\n", token: true, ok: true},
		"a token, settings for all":             {home: "skip_verify = true\n", all: member, token: true, sister: true, ok: true},
	} {
		t.Run(name, func(t *testing.T) {
			inner := server.New(openStore(t), server.Options{})
			pushImage(t, inner, "app", 60000)
			tokens := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					io.WriteString(w, `{"token":"t"}`)
					return
				}
				inner.ServeHTTP(w, r)
			})
			cert, key := other, otherKey
			if row.sister {
				cert, key = home, homeKey
			}
			away := secure(t, cert, key, tokens)
			if row.token { // which are not asked for at bare addresses
				away.host = strings.Replace(away.host, "127.0.0.1", "localhost", 1)
			}
			registry := secure(t, home, homeKey, sending(inner, "https://"+away.host, row.token))
			files := map[string][]byte{"home.pem": home, "home.key": homeKey, "other.pem": other, "other.key": otherKey}
			dir := t.TempDir()
			for host, text := range map[string]string{registry.host: row.home, away.host: row.away, "_default": row.all} {
				if text != "" {
					configure(t, filepath.Join(dir, host), text, files)
				}
			}
			c := New(Options{HostDirs: []string{dir}})
			c.patience.Pause = 1
			_, err := c.PullPlatforms(context.Background(), openStore(t), registry.host+"/app", nil)
			if (err == nil) != row.ok {
				t.Errorf("pull: %v", err)
			}
			if err != nil && !errors.Is(err, ErrUnreachable) && !strings.Contains(err.Error(), "none.pem") {
				t.Errorf("pull: %v, which is not about the certificate", err)
			}
			if (away.calls.Load() > 0) != row.ok || (away.members.Load() > 0) != row.shown {
				t.Errorf("the other host saw %d requests, %d with a certificate", away.calls.Load(), away.members.Load())
			}
			if strings.Contains(row.home, "client") && registry.members.Load() == 0 {
				t.Error("the registry itself saw no certificate")
			}
		})
	}
}

// TestProxyHasItsOwnTLS goes to a registry by way of a proxy that is spoken to with TLS:
// what hosts.toml says of the registry's TLS does not count for the proxy (G2).
func TestProxyHasItsOwnTLS(t *testing.T) {
	home, homeKey := identity(t)
	other, otherKey := identity(t)
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 100)
	const member = "ca = \"home.pem\"\nclient = [[\"home.pem\", \"home.key\"]]\n"
	for name, row := range map[string]struct {
		home, proxy string // hosts.toml of the registry and of the proxy
		shown, ok   bool   // the proxy is shown a certificate, and all goes well
	}{
		"the proxy's authority":      {home: member, proxy: "ca = \"other.pem\"\n", ok: true},
		"a certificate of its own":   {home: member, proxy: "ca = \"other.pem\"\nclient = [[\"other.pem\", \"other.key\"]]\n", shown: true, ok: true},
		"an authority nobody knows":  {home: member},
		"unverified registry":        {home: "skip_verify = true\n"},
		"unverified proxy":           {home: member, proxy: "skip_verify = true\n", ok: true},
		"registry that nobody knows": {home: "capabilities = [\"pull\", \"resolve\"]\n", proxy: "ca = \"other.pem\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			registry := secure(t, home, homeKey, inner)
			proxy := secure(t, other, otherKey, &relayProxy{secret: registry.host})
			t.Setenv("HTTPS_PROXY", proxy.URL)
			host := strings.Replace(registry.host, "127.0.0.1", "localhost", 1)
			files := map[string][]byte{"home.pem": home, "home.key": homeKey, "other.pem": other, "other.key": otherKey}
			dir := t.TempDir()
			configure(t, filepath.Join(dir, host), "server = \"https://"+host+"\"\n"+row.home, files)
			if row.proxy != "" {
				configure(t, filepath.Join(dir, proxy.host), row.proxy, files)
			}
			c := New(Options{HostDirs: []string{dir}})
			c.patience.Pause = 1
			at, err := url.Parse(proxy.URL)
			if err != nil {
				t.Fatal(err)
			}
			c.base.Proxy = http.ProxyURL(at) // the environment's are read once, and never for this machine
			defer c.base.CloseIdleConnections()
			if _, err = c.Digest(context.Background(), host+"/app"); (err == nil) != row.ok || err != nil && !errors.Is(err, ErrUnreachable) {
				t.Errorf("%v", err)
			}
			if (registry.calls.Load() > 0) != row.ok || (proxy.members.Load() > 0) != row.shown {
				t.Errorf("the registry saw %d requests, the proxy %d, %d with a certificate", registry.calls.Load(), proxy.calls.Load(), proxy.members.Load())
			}
			if strings.Contains(row.home, "client") && row.ok && registry.members.Load() == 0 {
				t.Error("the registry itself saw no certificate")
			}
		})
	}
}

// TestProxyThatRefuses says of a proxy's refusal whose it is, and asks again where it may
// pass.
func TestProxyThatRefuses(t *testing.T) {
	var asked atomic.Int64
	for status, row := range map[int]struct {
		times int64
		say   string
		hint  string
	}{
		http.StatusForbidden:         {1, "answers 403 Forbidden", "NO_PROXY"},
		http.StatusProxyAuthRequired: {1, "answers 407 Proxy Authentication Required", "USER:PASSWORD@"},
		http.StatusBadGateway:        {5, "by way of the proxy", ""},
	} {
		asked.Store(0)
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.WriteHeader(status)
		}))
		at, err := url.Parse(proxy.URL)
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("HTTPS_PROXY", proxy.URL)
		at.User = url.UserPassword("u", "secret")
		c := patient()
		c.base.Proxy = http.ProxyURL(at)
		_, err = c.Digest(context.Background(), "registry.example/app")
		var h interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), row.say) || !strings.Contains(err.Error(), at.Host) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d: %v", status, err)
		}
		if errors.As(err, &h) != (row.hint != "") || row.hint != "" && !strings.Contains(h.Hint(), row.hint) {
			t.Errorf("%d: the hint is wrong: %v", status, err)
		}
		if asked.Load() != row.times {
			t.Errorf("%d: the proxy was asked %d times", status, asked.Load())
		}
		proxy.Close()
	}
}

// sending sends a registry's clients to another host for layers, or for tokens.
func sending(inner http.Handler, away string, token bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case token && r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="home"`, away))
			w.WriteHeader(http.StatusUnauthorized)
		case !token && strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(w, r, away+r.URL.Path, http.StatusTemporaryRedirect)
		default:
			inner.ServeHTTP(w, r)
		}
	})
}

// configure writes a host's folder.
func configure(t *testing.T, dir, text string, files map[string][]byte) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files = maps.Clone(files)
	files["hosts.toml"] = []byte(text)
	for name, raw := range files {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
