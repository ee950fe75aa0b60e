package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/auth"
	"github.com/hodbuild/hod/registry/server"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestStrangersNearAreNotVisited decides by address, after the name was looked up,
// whither a registry may send us (G4).
func TestStrangersNearAreNotVisited(t *testing.T) {
	for _, row := range []struct {
		registry, host, at string
		ok                 bool
	}{
		{"93.184.216.34", "cdn.example", "93.184.216.35", true}, {"93.184.216.34", "metadata", "169.254.169.254", false},
		{"93.184.216.34", "localtest.me", "127.0.0.2", false}, {"93.184.216.34", "intranet", "10.0.0.7", false}, {"93.184.216.34", "v6", "fd00:ec2::254", false},
		{"93.184.216.34", "v6link", "fe80::1", false}, {"93.184.216.34", "zero", "0.0.0.0", false},
		{"10.0.0.5", "auth.corp", "10.0.0.6", true}, {"10.0.0.5", "here", "127.0.0.1", false}, {"127.0.0.1", "tokens", "127.0.0.1", true}, {"127.0.0.1", "metadata", "169.254.169.254", false},
	} {
		c := New(Options{})
		c.mu.Lock()
		c.expect("registry.example:5000")
		c.mu.Unlock()
		if err := c.admit("registry.example", net.ParseIP(row.registry)); err != nil {
			t.Errorf("the registry itself at %s: %v", row.registry, err)
		}
		if err := c.admit(row.host, net.ParseIP(row.at)); (err == nil) != row.ok || err != nil && !errors.Is(err, errNearer) {
			t.Errorf("from a registry at %s to %s at %s: %v", row.registry, row.host, row.at, err)
		}
	}
}

// TestProxyOpensNothingNear has a proxy on the network around: that says nothing of the
// registry behind it.
func TestProxyOpensNothingNear(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy.corp:3128")
	c := New(Options{})
	c.mu.Lock()
	c.expect("registry.example")
	c.mu.Unlock()
	for _, row := range []struct {
		host, at string
		ok       bool
	}{{"proxy.corp", "10.0.0.1", true}, {"registry.example", "93.184.216.34", true}, {"intranet", "10.0.0.7", false}, {"here", "127.0.0.1", false}} {
		if err := c.admit(row.host, net.ParseIP(row.at)); (err == nil) != row.ok {
			t.Errorf("%s at %s: %v", row.host, row.at, err)
		}
	}
}

// TestTokenServersNear has a registry that sends for tokens to an address on this machine,
// which is asked where the user knows it.
func TestTokenServersNear(t *testing.T) {
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "u" || password != "u" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"token":"good"}`)
	}))
	defer tokens.Close()
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer good" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x"`, tokens.URL))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"tags":["1"]}`)
	}))
	defer home.Close()
	near := strings.TrimPrefix(tokens.URL, "http://")
	for name, row := range map[string]struct {
		o  Options
		ok bool
	}{
		"a stranger":        {Options{HostDirs: []string{hostsFile(t, "127.0.0.1", "", nil)}}, false},
		"a folder":          {Options{HostDirs: []string{hostsFile(t, near, "", nil)}}, true},
		"the folder of all": {Options{HostDirs: []string{hostsFile(t, "_default", "", nil)}}, false},
		"by name":           {Options{HostDirs: []string{}, PlainHTTP: []string{near}}, true},
	} {
		c := New(row.o)
		c.patience = patient().patience
		knows(t, c, strings.TrimPrefix(home.URL, "http://"))
		tags, err := c.Tags(context.Background(), strings.TrimPrefix(home.URL, "http://")+"/app")
		if (err == nil) != row.ok || row.ok != (len(tags) == 1) {
			t.Errorf("%s: %v, %v", name, tags, err)
		}
	}
}

// TestAddressesThatMayBeNear decides which addresses of token servers go past the library.
func TestAddressesThatMayBeNear(t *testing.T) {
	for _, row := range []struct {
		registry, host string
		ok             bool
	}{
		{"10.0.0.5", "10.0.0.6:5001", true}, {"10.0.0.5", "192.168.1.1", true}, {"10.0.0.5", "127.0.0.1:5001", false}, {"10.0.0.5", "169.254.169.254", false},
		{"93.184.216.34", "10.0.0.6", false}, {"127.0.0.1", "127.0.0.1:5001", false}, {"127.0.0.1", "10.0.0.6", false},
	} {
		c := New(Options{HostDirs: []string{}})
		c.mu.Lock()
		c.expect("registry.example:5000")
		c.mu.Unlock()
		if err := c.admit("registry.example", net.ParseIP(row.registry)); err != nil {
			t.Fatal(err)
		}
		near := func(host string) bool { return c.mayBeNear("registry.example:5000", host) }
		h := http.Header{"Www-Authenticate": {`Bearer service="s",realm="https://` + row.host + `/token?a=b"`, `Basic realm="hod"`}}
		veil(h, near)
		_, _, hidden, _ := realmOf(h.Get("WWW-Authenticate"))
		if (hidden != row.host) != row.ok || h.Values("WWW-Authenticate")[1] != `Basic realm="hod"` {
			t.Errorf("a registry at %s sends to %s: %q", row.registry, row.host, h)
		}
		r, err := http.NewRequest(http.MethodGet, "https://"+hidden+"/token", nil)
		if err != nil {
			t.Fatal(err)
		}
		if r = (&guard{near: near}).unveiled(r); r.URL.Host != row.host || r.Host != row.host {
			t.Errorf("a registry at %s sends to %s, and %s is asked", row.registry, row.host, r.URL.Host)
		}
	}
}

// TestTokensStayAtHome has a registry that sends for tokens to places where no
// token is given, with a credential at hand (G4).
func TestTokensStayAtHome(t *testing.T) {
	thief := &canary{}
	away := httptest.NewServer(thief)
	defer away.Close()
	for _, realm := range []string{"http://169.254.169.254/token", "file:///etc/passwd", away.URL + "/token", "http://[fe80::1]/token", "gopher://x/"} {
		home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="x"`, realm))
			w.WriteHeader(http.StatusUnauthorized)
		}))
		c := patient()
		host := strings.TrimPrefix(home.URL, "http://")
		path := t.TempDir() + "/config.json"
		c.auth = auth.Files{Paths: []string{path}, Login: path}
		if _, err := c.auth.Save(context.Background(), host, auth.Credential{User: "u", Password: "p"}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Tags(context.Background(), host+"/app"); err == nil {
			t.Errorf("%s: no error", realm)
		}
		home.Close()
	}
	if thief.shown.Load() != 0 {
		t.Errorf("a stranger saw %d credentials", thief.shown.Load())
	}
}

// TestForeignLayersAreNotFollowed has a manifest whose layer lies elsewhere (G1).
func TestForeignLayersAreNotFollowed(t *testing.T) {
	thief := &canary{}
	away := httptest.NewServer(thief)
	defer away.Close()
	h := server.New(openStore(t), server.Options{})
	srv := httptest.NewServer(h)
	defer srv.Close()
	d := digest.FromString("layer")
	config := fmt.Appendf(nil, `{"os":"linux","architecture":%q,"rootfs":{"type":"layers","diff_ids":[%q]}}`, layers.HostPlatform().Architecture, d)
	cd := digest.FromBytes(config)
	send(t, h, http.MethodPost, "/v2/app/blobs/uploads/?digest="+string(cd), "application/octet-stream", config)
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: cd, Size: int64(len(config))},
		Layers: []ocispec.Descriptor{{MediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar", Digest: d, Size: 5, URLs: []string{away.URL}}}}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	send(t, h, http.MethodPut, "/v2/app/manifests/latest", m.MediaType, raw)
	_, _, err = patient().Pull(context.Background(), openStore(t), strings.TrimPrefix(srv.URL, "http://")+"/app", PullOptions{})
	if err == nil || !strings.Contains(err.Error(), "follows no such addresses") || thief.calls.Load() != 0 {
		t.Errorf("%v, %d visits", err, thief.calls.Load())
	}
}

// TestEndlessListsEnd has listings that go in circles, to other hosts, or on for
// ever (G5).
func TestEndlessListsEnd(t *testing.T) {
	n := 0
	for name, next := range map[string]func(*http.Request) string{
		"itself": func(r *http.Request) string { return r.URL.RequestURI() }, "elsewhere": func(*http.Request) string { return "http://192.0.2.1/v2/app/tags/list" },
		"on and on": func(*http.Request) string { n++; return fmt.Sprintf("/v2/app/tags/list?last=%d", n) },
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/tags/list") {
				w.Header().Set("Link", "<"+next(r)+`>; rel="next"`)
				fmt.Fprint(w, `{"tags":["x"]}`)
			}
		}))
		if _, err := patient().Tags(context.Background(), strings.TrimPrefix(srv.URL, "http://")+"/app"); err == nil {
			t.Errorf("%s: no error", name)
		}
		srv.Close()
	}
	if n > maxPages+1 {
		t.Errorf("%d pages were read", n)
	}
}
