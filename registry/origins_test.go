package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/auth"
	"github.com/hodbuild/hod/registry/transfer"
)

// thief is an origin to which a registry sends everything. It asks for all that
// somebody may have.
type thief struct {
	bearer bool
	calls  atomic.Int64
	saw    atomic.Pointer[string]
}

func (s *thief) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.calls.Add(1)
	for _, k := range []string{"Authorization", "Cookie", "X-Key", "Referer"} {
		if v := r.Header.Get(k); v != "" && (k != "Referer" || strings.Contains(v, "secret")) {
			text := fmt.Sprintf("%s %s: %s %s", r.Method, r.URL, k, v)
			s.saw.Store(&text)
		}
	}
	if body, _ := io.ReadAll(r.Body); bytes.Contains(body, []byte("secret")) {
		text := fmt.Sprintf("%s %s: %s", r.Method, r.URL, body)
		s.saw.Store(&text)
	}
	challenge := `Basic realm="give me all"`
	if s.bearer {
		challenge = fmt.Sprintf(`Bearer realm="http://%s/token",service="x",scope="repository:app:pull,push,delete"`, r.Host)
	}
	w.Header().Set("WWW-Authenticate", challenge)
	w.WriteHeader(http.StatusUnauthorized)
}

// leader is a registry that lets in whom it knows, and sends them to another origin.
type leader struct {
	bearer bool
	to     string
	code   int
	knew   atomic.Int64
}

func (h *leader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, basic := r.BasicAuth()
	basic = basic && user == "u" && password == "p"
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	switch {
	case r.URL.Path == "/token" && basic:
		io.WriteString(w, `{"token":"t"}`)
	case h.bearer && r.Header.Get("Authorization") != "Bearer t":
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s://%s/token",service="home"`, scheme, r.Host))
		w.WriteHeader(http.StatusUnauthorized)
	case !h.bearer && !basic:
		w.Header().Set("WWW-Authenticate", `Basic realm="home"`)
		w.WriteHeader(http.StatusUnauthorized)
	default:
		h.knew.Add(1)
		http.Redirect(w, r, h.to+r.URL.Path, h.code)
	}
}

// TestCredentialsCrossNoOrigin has a registry that is shown a credential and sends its
// client to each kind of other origin, which wants one, too (G2).
func TestCredentialsCrossNoOrigin(t *testing.T) {
	for name, row := range map[string]struct {
		home, away string
		refused    bool
	}{
		"another host":                {"http://home.example", "http://away.example", false},
		"a subdomain":                 {"http://home.example", "http://cdn.home.example", false},
		"the domain above":            {"http://cdn.home.example", "http://home.example", false},
		"another port":                {"http://home.example", "http://home.example:8080", false},
		"TLS to TLS, a subdomain":     {"https://home.example", "https://cdn.home.example", false},
		"TLS to TLS, another port":    {"https://home.example", "https://home.example:8443", false},
		"to TLS at a subdomain":       {"http://home.example", "https://cdn.home.example", false},
		"TLS to plain, the same host": {"https://home.example", "http://home.example", true},
		"TLS to plain, a subdomain":   {"https://home.example", "http://cdn.home.example", true},
	} {
		t.Run(name, func(t *testing.T) {
			for i, code := range []int{301, 302, 303, 307, 308} {
				home, away := &leader{to: row.away, code: code, bearer: i%2 == 0}, &thief{bearer: code > 303}
				strayInto(t, row.home, row.away, home, away)
				if what := away.saw.Load(); what != nil {
					t.Errorf("%d: the other origin was shown: %s", code, *what)
				}
				if calls := away.calls.Load(); home.knew.Load() == 0 || (calls == 0) != row.refused {
					t.Errorf("%d: home knew %d requests, the other origin saw %d", code, home.knew.Load(), calls)
				}
			}
		})
	}
}

// strayInto sends each kind of request to a registry, home, that stands at one origin
// and leads to another.
func strayInto(t *testing.T, from, to string, home, away http.Handler) {
	strayAs(t, auth.Credential{User: "u", Password: "p"}, from, to, home, away)
}

func strayAs(t *testing.T, who auth.Credential, from, to string, home, away http.Handler) {
	t.Helper()
	_, host, _ := strings.Cut(from, "://")
	_, other, _ := strings.Cut(to, "://")
	plain := []string{other}
	if strings.HasPrefix(from, "http:") {
		plain = append(plain, host)
	}
	hosts := hostsFile(t, host, fmt.Sprintf("server = %q\n[host.%q]\n[host.%q.header]\nx-key = \"secret\"\n", from, from, from), nil)
	c := New(Options{PlainHTTP: plain, HostDirs: []string{hosts}})
	c.patience = patient().patience
	at := map[string]string{address(from): standing(t, from, home), address(to): standing(t, to, away)}
	c.base.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	c.base.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at[addr])
	}
	defer c.base.CloseIdleConnections()
	path := filepath.Join(t.TempDir(), "config.json")
	c.auth = auth.Files{Paths: []string{path}, Login: path}
	if _, err := c.auth.Save(t.Context(), host, who); err != nil {
		t.Fatal(err)
	}
	s, err := c.dial(layers.Name{Registry: host, Repository: "app"}, toPush)
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.writer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"} {
		body := transfer.Body(nil)
		if method[0] == 'P' {
			body = func() (io.Reader, int64, error) { return bytes.NewReader([]byte("x")), 1, nil }
		}
		if resp, err := l.Once(t.Context(), method, "/v2/app/x?state=secret", nil, body); err == nil {
			resp.Body.Close()
		}
	}
}

// TestTokenServersPassNothingOn has a token server that sends who asks it, with a
// password or a refresh token, to another origin (G2, G4).
func TestTokenServersPassNothingOn(t *testing.T) {
	for _, who := range []auth.Credential{{User: "u", Password: "secret"}, {User: "u", Identity: "secret"}} {
		for _, code := range []int{301, 302, 303, 307, 308} {
			asked, away := atomic.Int64{}, &thief{}
			home := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					asked.Add(1)
					http.Redirect(w, r, "http://cdn.home.example/token", code)
					return
				}
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://home.example/token",service="home"`)
				w.WriteHeader(http.StatusUnauthorized)
			})
			strayAs(t, who, "http://home.example", "http://cdn.home.example", home, away)
			if what := away.saw.Load(); what != nil {
				t.Errorf("%d: the other origin was shown: %s", code, *what)
			}
			if asked.Load() == 0 {
				t.Errorf("%d: no token was asked for", code)
			}
		}
	}
}

// address is where a client connects to for an origin.
func address(origin string) string {
	scheme, host, _ := strings.Cut(origin, "://")
	if strings.Contains(host, ":") {
		return host
	}
	return host + map[string]string{"http": ":80", "https": ":443"}[scheme]
}

// standing starts a server for an origin and gives its real address.
func standing(t *testing.T, origin string, h http.Handler) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	if strings.HasPrefix(origin, "https:") {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// TestHeadThatLies pulls and pushes where HEAD says something else than GET: what counts
// are the bytes (B5).
func TestHeadThatLies(t *testing.T) {
	for name, lie := range map[string]func(h http.Header){
		"a size":           func(h http.Header) { h.Set("Content-Length", "7") },
		"no size":          func(h http.Header) { h.Del("Content-Length") },
		"a digest":         func(h http.Header) { h.Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64)) },
		"a broken digest":  func(h http.Header) { h.Set("Docker-Content-Digest", "sha256:../../x") },
		"a kind":           func(h http.Header) { h.Set("Content-Type", "text/html") },
		"ranges, of lines": func(h http.Header) { h.Set("Accept-Ranges", "lines") },
	} {
		t.Run(name, func(t *testing.T) {
			inner := pushedServer(t)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodHead {
					inner.ServeHTTP(w, r)
					return
				}
				whole := httptest.NewRecorder()
				inner.ServeHTTP(whole, r)
				lie(whole.Header())
				copyHeader(w, whole)
				w.WriteHeader(whole.Code)
			}))
			defer srv.Close()
			c, store, ctx, host := patient(), openStore(t), context.Background(), strings.TrimPrefix(srv.URL, "http://")
			d, err := c.PullPlatforms(ctx, store, host+"/app", nil)
			if err != nil {
				t.Fatalf("pull: %v", err)
			}
			if got, err := c.Digest(ctx, host+"/app@"+string(d.Digest)); got != d.Digest {
				t.Errorf("its digest is said to be %s: %v", got, err)
			}
			for _, target := range []string{"/other:1", "/app:latest"} {
				got, err := c.PushAs(ctx, store, host+"/app", host+target, PushOptions{})
				if err != nil || got.Digest != d.Digest {
					t.Errorf("push to %s: %s, want %s: %v", target, got.Digest, d.Digest, err)
				}
			}
			if err := pullBlobs(t, patient(), openStore(t), host+"/other:1"); err != nil {
				t.Errorf("pull of what was pushed: %v", err)
			}
		})
	}
}

func pushedServer(t *testing.T) http.Handler {
	t.Helper()
	h := newCarrier(t, nil).server
	pushImage(t, h, "app", 60000, 3000)
	return h
}
