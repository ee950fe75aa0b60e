package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hodbuild/hod/registry/server"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestFewQuestions writes down what a registry is asked: no ping before a pull, one
// look for a push of what is there, and links without a look in a copy.
func TestFewQuestions(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 60000, 3000)
	var mu sync.Mutex
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, kindOf(r))
		mu.Unlock()
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	host, store, ctx := strings.TrimPrefix(srv.URL, "http://"), openStore(t), context.Background()
	during := func(what string, fn func(c *Client) error, want ...string) {
		t.Helper()
		asked = nil
		if err := fn(New(Options{})); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		slices.Sort(asked)
		slices.Sort(want)
		if !slices.Equal(asked, want) {
			t.Errorf("%s asks %q, want %q", what, asked, want)
		}
	}
	pull := func(c *Client) error {
		_, err := c.PullPlatforms(ctx, store, host+"/app", nil)
		return err
	}
	push := func(c *Client) error {
		_, err := c.PushAs(ctx, store, host+"/app", host+"/app", PushOptions{})
		return err
	}
	copies := func(from, to string) func(c *Client) error {
		place := func(name string) Place { return Place{Kind: "registry", Name: host + name} }
		return func(c *Client) error {
			_, err := c.Copy(ctx, store, place(from), place(to), CopyOptions{NoReferrers: true})
			return err
		}
	}
	link := copies("/app:latest", "/new/app:1")
	during("a pull", pull, "GET manifest", "GET blob", "GET blob", "GET blob")
	during("a push of what is there", push, "HEAD manifest")
	inner = server.New(openStore(t), server.Options{}) // which has nothing of that
	during("a push of a known image", push, "HEAD manifest", "HEAD blob", "HEAD blob", "HEAD blob", "POST", "POST", "POST", "PUT", "PUT", "PUT", "PUT manifest")
	during("a copy within the registry", link, "GET manifest", "HEAD manifest", "POST", "POST", "POST", "PUT manifest")
	during("the same copy again", link, "GET manifest", "HEAD manifest")
	desc, err := store.ResolveDescriptor(host + "/app")
	if err != nil {
		t.Fatal(err)
	}
	index := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, ocispec.MediaTypeImageIndex, desc.MediaType, desc.Digest, desc.Size)
	send(t, inner, http.MethodPut, "/v2/app/manifests/list", ocispec.MediaTypeImageIndex, index)
	during("a copy of an index", copies("/app:list", "/other:1"), "GET manifest", "HEAD manifest", "GET manifest", "HEAD manifest", "POST", "POST", "POST", "PUT manifest", "PUT manifest")
	during("a copy of the index under another tag", copies("/app:list", "/other:2"), "GET manifest", "HEAD manifest", "GET manifest", "HEAD manifest", "PUT manifest")
	during("that copy again", copies("/app:list", "/other:1"), "GET manifest", "HEAD manifest")
}

// TestPushMendsARegistry has a registry that kept a manifest and lost one of its blobs:
// a push believes the manifest, unless it is to look again.
func TestPushMendsARegistry(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 60000, 3000)
	host, store, ctx := "", openStore(t), context.Background()
	var mu sync.Mutex
	lost, sent := "", 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		gone := lost != "" && r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, lost)
		if lost != "" && r.Method == http.MethodPut && r.URL.Query().Get("digest") == lost {
			sent, lost = sent+1, ""
		}
		mu.Unlock()
		if gone {
			http.NotFound(w, r)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	host = strings.TrimPrefix(srv.URL, "http://")
	if _, err := New(Options{}).PullPlatforms(ctx, store, host+"/app", nil); err != nil {
		t.Fatal(err)
	}
	img, err := store.Resolve(host+"/app", nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := store.Layer(img.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	lost = string(info.Blobs[0].Digest)
	for _, recheck := range []bool{false, true, true} {
		if _, err := New(Options{}).Push(ctx, store, host+"/app", PushOptions{Recheck: recheck}); err != nil {
			t.Fatal(err)
		}
		if (sent == 1) != recheck {
			t.Errorf("recheck %v: the blob was sent %d times", recheck, sent)
		}
	}
}

// rounds is a registry far away: it answers a question when all that are to be
// asked side by side with it have come.
type rounds struct {
	inner http.Handler

	mu     sync.Mutex // guards what follows
	want   [][]string
	opened chan struct{} // closed when the first round of want is complete
	odd    []string
}

// expect begins to wait for the rounds of one command.
func (r *rounds) expect(want ...[]string) {
	r.want, r.opened = want, make(chan struct{})
}

func (r *rounds) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	opened := r.arrived(kindOf(req))
	select {
	case <-opened:
	case <-time.After(20 * time.Second):
		r.mu.Lock()
		r.odd = append(r.odd, "waits alone: "+kindOf(req))
		r.mu.Unlock()
	}
	r.inner.ServeHTTP(w, req)
}

// arrived takes a question out of the round that is due.
func (r *rounds) arrived(kind string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	opened := r.opened
	i := -1
	if len(r.want) > 0 {
		i = slices.Index(r.want[0], kind)
	}
	if i < 0 {
		r.odd = append(r.odd, "not due: "+kind)
		done := make(chan struct{})
		close(done)
		return done
	}
	if r.want[0] = slices.Delete(r.want[0], i, i+1); len(r.want[0]) == 0 {
		close(r.opened)
		r.want, r.opened = r.want[1:], make(chan struct{})
	}
	return opened
}

// TestQuestionsGoSideBySide counts the round trips of each command: questions of one
// round are all asked before any of them is answered.
func TestQuestionsGoSideBySide(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 60000, 3000)
	far := &rounds{inner: inner}
	srv := httptest.NewServer(far)
	defer srv.Close()
	host, store, ctx := strings.TrimPrefix(srv.URL, "http://"), openStore(t), context.Background()
	copied := func(from, to string) func(*Client) error {
		return func(c *Client) error {
			place := func(name string) Place { return Place{Kind: "registry", Name: host + name} }
			_, err := c.Copy(ctx, store, place(from), place(to), CopyOptions{})
			return err
		}
	}
	pushed := func(to string) func(*Client) error {
		return func(c *Client) error {
			_, err := c.PushAs(ctx, store, host+"/app", host+to, PushOptions{})
			return err
		}
	}
	look := []string{"HEAD manifest", "HEAD blob", "HEAD blob", "HEAD blob"}
	// What refers to the image, by the API and by three tags.
	others := []string{"HEAD manifest", "GET referrers", "GET manifest", "GET manifest", "GET manifest"}
	for _, row := range []struct {
		name string
		do   func(*Client) error
		want [][]string
	}{
		{"a pull", func(c *Client) error {
			_, err := c.PullPlatforms(ctx, store, host+"/app", nil)
			return err
		}, [][]string{{"GET manifest"}, {"GET blob"}, {"GET blob", "GET blob"}}},
		{"a push of what is there", pushed("/app"), [][]string{{"HEAD manifest"}}},
		{"a push to an empty repository", pushed("/other:1"), [][]string{look, {"POST", "POST", "POST"}, {"PUT manifest"}}},
		{"a copy", copied("/app:latest", "/third:1"), [][]string{{"GET manifest"}, others, {"POST", "POST", "POST"}, {"PUT manifest"}}},
		{"the copy again", copied("/app:latest", "/third:1"), [][]string{{"GET manifest"}, others}},
	} {
		for i := range row.want {
			row.want[i] = slices.Clone(row.want[i])
		}
		far.expect(row.want...)
		err := row.do(New(Options{HostDirs: []string{t.TempDir()}}))
		if err != nil || len(far.odd) > 0 || len(far.want) > 0 {
			t.Fatalf("%s: %v, odd %q, not asked %q", row.name, err, far.odd, far.want)
		}
	}
}
