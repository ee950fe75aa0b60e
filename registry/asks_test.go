package registry

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hodbuild/hod/registry/server"
)

// TestFewQuestions writes down what a registry is asked: no ping before a pull, only
// looks for a push of what is there, and links without a look in a copy.
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
	link := func(c *Client) error {
		place := func(name string) Place { return Place{Kind: "registry", Name: host + name} }
		_, err := c.Copy(ctx, store, place("/app:latest"), place("/new/app:1"), CopyOptions{NoReferrers: true})
		return err
	}
	during("a pull", pull, "GET manifest", "GET blob", "GET blob", "GET blob")
	during("a push of what is there", push, "HEAD manifest", "HEAD blob", "HEAD blob", "HEAD blob")
	during("a copy within the registry", link, "GET manifest", "HEAD manifest", "POST", "POST", "POST", "PUT manifest")
	during("the same copy again", link, "GET manifest", "HEAD manifest")
}
