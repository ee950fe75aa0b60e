package registry

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/auth"
	"github.com/hodbuild/hod/registry/server"
	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/bcrypt"
)

// canary is another origin: it counts who comes and who shows a credential.
type canary struct{ calls, shown atomic.Int64 }

func (c *canary) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.calls.Add(1)
	if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
		c.shown.Add(1)
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="give me all"`)
	w.WriteHeader(http.StatusUnauthorized)
}

// carrier is a registry behind a faulty line.
type carrier struct {
	server http.Handler
	line   *faulty
	canary *canary
	host   string
}

func newCarrier(t *testing.T, who *server.Auth) *carrier {
	t.Helper()
	c := &carrier{server: server.New(openStore(t), server.Options{Auth: who}), canary: &canary{}}
	away := httptest.NewServer(c.canary)
	c.line = &faulty{inner: c.server, canary: away.URL}
	front := httptest.NewServer(c.line)
	t.Cleanup(func() { front.CloseClientConnections(); front.Close(); away.Close() })
	c.host = strings.TrimPrefix(front.URL, "http://")
	return c
}

// spoil chooses a fault by a seed.
func (c *carrier) spoil(seed uint64, kinds ...string) {
	rnd := rand.New(rand.NewPCG(seed, 5))
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	c.line.rnd = rnd
	c.line.fault = faults[int(seed)%len(faults)]
	c.line.kind = kinds[rnd.IntN(len(kinds))]
	c.line.before = rnd.IntN(2) == 0 && c.line.fault.name != "stall"
	c.line.times = 1 + rnd.IntN(3)
}

func (c *carrier) heal() {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	c.line.times = 0
}

// scenario names a fault for messages.
func (c *carrier) scenario(seed uint64) string {
	return fmt.Sprintf("seed %d: %s at %s, before %v", seed, c.line.fault.name, c.line.kind, c.line.before)
}

// scenarios is how many there are for each of pull, push and copy: each fault three
// times at least.
const scenarios = 110

// TestPullOverFaultyLines pulls over lines that break in seeded ways: either all
// is right, or there is an error and the next pull is right.
func TestPullOverFaultyLines(t *testing.T) {
	c := newCarrier(t, nil)
	pushImage(t, c.server, "app", 60000, 3000)
	for seed := range uint64(scenarios) {
		c.spoil(seed, "GET manifest", "GET blob")
		store, client := openStore(t), patient()
		err := pullBlobs(t, client, store, c.host+"/app")
		if err != nil && c.line.fault.heals {
			t.Errorf("%s: %v", c.scenario(seed), err)
		}
		c.heal()
		client.base.CloseIdleConnections()
		if err := pullBlobs(t, client, store, c.host+"/app"); err != nil {
			t.Errorf("%s: and again: %v", c.scenario(seed), err)
		}
		client.base.CloseIdleConnections()
	}
	if c.canary.calls.Load() == 0 || c.canary.shown.Load() != 0 {
		t.Errorf("the other origin was called %d times and saw %d credentials", c.canary.calls.Load(), c.canary.shown.Load())
	}
}

// pullBlobs fetches an image's blobs, and checks that the store shows no wrong
// one whether or not that went well.
func pullBlobs(t *testing.T, client *Client, store *layers.Store, ref string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := client.Resolve(ctx, ref, nil)
	if err != nil {
		return err
	}
	lease, err := store.Lease(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Close()
	_, err = client.fetch(ctx, store, lease, r, layers.IngestOptions{NoTree: true})
	for _, d := range r.Manifest.Layers {
		b, oerr := store.OpenBlob(d.Digest)
		if oerr != nil {
			if err == nil {
				t.Errorf("no error, and no blob %s", d.Digest)
			}
			continue
		}
		got, rerr := digest.FromReader(b)
		if rerr != nil || got != d.Digest {
			t.Errorf("the store shows %s as %s: %v", got, d.Digest, rerr)
		}
		b.Close()
	}
	return err
}

// TestPushOverFaultyLines pushes over lines that break in seeded ways.
func TestPushOverFaultyLines(t *testing.T) {
	needRoot(t)
	c := newCarrier(t, nil)
	pushImage(t, c.server, "app", 60000, 3000)
	store, ctx := openStore(t), context.Background()
	if _, _, err := patient().Pull(ctx, store, c.host+"/app", PullOptions{}); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(scenarios) {
		c.spoil(seed, "HEAD blob", "HEAD manifest", "POST", "PATCH", "PUT", "PUT manifest")
		client, to := patient(), fmt.Sprintf("%s/to%d", c.host, seed)
		_, err := client.PushAs(ctx, store, c.host+"/app", to, PushOptions{})
		if err != nil && c.line.fault.heals {
			t.Errorf("%s: %v", c.scenario(seed), err)
		}
		c.heal()
		client.base.CloseIdleConnections()
		if _, err := client.PushAs(ctx, store, c.host+"/app", to, PushOptions{}); err != nil {
			t.Errorf("%s: and again: %v", c.scenario(seed), err)
		}
		if err := pullBlobs(t, client, openStore(t), to); err != nil {
			t.Errorf("%s: pull what was pushed: %v", c.scenario(seed), err)
		}
		client.base.CloseIdleConnections()
	}
	if c.canary.shown.Load() != 0 {
		t.Errorf("the other origin saw %d credentials", c.canary.shown.Load())
	}
}

// users is a registry's list with one user, whose name and password is u.
func users(t *testing.T) *server.Auth {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("u"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	who, err := server.ReadHtpasswd(strings.NewReader("u:" + string(hash)))
	if err != nil {
		t.Fatal(err)
	}
	who.AnonymousRead = true // so that there are tokens
	return who
}

// knows gives a client the credential of a host.
func knows(t *testing.T, c *Client, host string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	c.auth = auth.Files{Paths: []string{path}, Login: path}
	if _, err := c.auth.Save(context.Background(), host, auth.Credential{User: "u", Password: "u"}); err != nil {
		t.Fatal(err)
	}
}

// TestCopyOverFaultyLines copies within a registry that wants tokens and from
// another into it, over lines that break in seeded ways.
func TestCopyOverFaultyLines(t *testing.T) {
	c, ctx := newCarrier(t, users(t)), context.Background()
	plain := server.New(openStore(t), server.Options{})
	pushImage(t, plain, "app", 60000, 3000)
	other := httptest.NewServer(plain)
	t.Cleanup(other.Close)
	store, first := openStore(t), patient()
	knows(t, first, c.host)
	place := func(name string) Place { return Place{Kind: "registry", Name: name} }
	sources := []Place{place(c.host + "/app:latest"), place(strings.TrimPrefix(other.URL, "http://") + "/app:latest")}
	if _, err := first.Copy(ctx, store, sources[1], sources[0], CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(scenarios) {
		c.spoil(seed, "GET token", "GET manifest", "HEAD manifest", "GET referrers", "GET blob", "HEAD blob", "POST", "PATCH", "PUT", "PUT manifest")
		client, to := patient(), place(fmt.Sprintf("%s/to%d:1", c.host, seed))
		knows(t, client, c.host)
		_, err := client.Copy(ctx, store, sources[seed%2], to, CopyOptions{})
		if err != nil && c.line.fault.heals {
			t.Errorf("%s: %v", c.scenario(seed), err)
		}
		c.heal()
		client.base.CloseIdleConnections()
		if _, err := client.Copy(ctx, store, sources[seed%2], to, CopyOptions{}); err != nil {
			t.Errorf("%s: and again: %v", c.scenario(seed), err)
		}
		if err := pullBlobs(t, client, openStore(t), to.Name); err != nil {
			t.Errorf("%s: pull what was copied: %v", c.scenario(seed), err)
		}
		client.base.CloseIdleConnections()
	}
	if c.canary.shown.Load() != 0 {
		t.Errorf("the other origin saw %d credentials", c.canary.shown.Load())
	}
}

// TestTagMoves moves a tag while what it meant is pulled: what comes is one image.
func TestTagMoves(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 60000, 3000)
	var moved atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if kindOf(r) == "GET blob" && moved.CompareAndSwap(false, true) {
			pushImage(t, inner, "app", 500, 70000, 9)
		}
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	c, host := patient(), strings.TrimPrefix(srv.URL, "http://")
	want, err := c.Digest(context.Background(), host+"/app")
	if err != nil {
		t.Fatal(err)
	}
	desc, err := c.PullPlatforms(context.Background(), openStore(t), host+"/app", nil)
	if err != nil || desc.Digest != want || !moved.Load() {
		t.Errorf("pulled %s, want %s: %v", desc.Digest, want, err)
	}
	if now, err := c.Digest(context.Background(), host+"/app"); err != nil || now == want {
		t.Errorf("the tag did not move: %v", err)
	}
}

// TestTokensThatExpire has a registry whose tokens are good for a few requests.
func TestTokensThatExpire(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 3<<20, 3000, 500)
	var given atomic.Int64
	var uses sync.Map // of each token
	var home *httptest.Server
	home = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			token := fmt.Sprintf("t%d", given.Add(1))
			uses.Store("Bearer "+token, new(atomic.Int64))
			fmt.Fprintf(w, `{"token":%q}`, token)
			return
		}
		if used, known := uses.Load(r.Header.Get("Authorization")); !known || used.(*atomic.Int64).Add(1) > 8 {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x"`, home.URL))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer home.Close()
	c, host := patient(), strings.TrimPrefix(home.URL, "http://")
	c.o.Jobs = 1 // so that no token is spent by others between its request and its use
	store, ctx := openStore(t), context.Background()
	if _, err := c.PullPlatforms(ctx, store, host+"/app", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PushAs(ctx, store, host+"/app", host+"/new/app:1", PushOptions{}); err != nil {
		t.Fatal(err)
	}
	if given.Load() < 3 {
		t.Errorf("%d tokens were given", given.Load())
	}
	want, err := c.Digest(ctx, host+"/app")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Digest(ctx, host+"/new/app:1"); err != nil || got != want {
		t.Errorf("pushed %s, want %s: %v", got, want, err)
	}
}
