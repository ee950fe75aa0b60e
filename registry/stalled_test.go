package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hodbuild/hod/registry/auth"
	"github.com/hodbuild/hod/registry/server"
)

// TestStalledAnswersEnd has registries that promise a body and send none: what is read of
// an answer beside its status does not hold anybody up.
func TestStalledAnswersEnd(t *testing.T) {
	stall := func(w http.ResponseWriter, r *http.Request, status int) {
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(status)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	challenge := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))
	}
	tags := func(ctx context.Context, c *Client, host string) error {
		_, err := c.Tags(ctx, host+"/app")
		return err
	}
	for name, row := range map[string]struct {
		serve http.HandlerFunc
		ask   func(ctx context.Context, c *Client, host string) error
	}{
		"a refusal": {func(w http.ResponseWriter, r *http.Request) { stall(w, r, http.StatusNotFound) }, tags},
		"a challenge": {func(w http.ResponseWriter, r *http.Request) {
			challenge(w, r)
			stall(w, r, http.StatusUnauthorized)
		}, tags},
		"a token": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				stall(w, r, http.StatusOK)
				return
			}
			challenge(w, r)
			w.WriteHeader(http.StatusUnauthorized)
		}, tags},
		"a login": {func(w http.ResponseWriter, r *http.Request) { stall(w, r, http.StatusOK) }, func(ctx context.Context, c *Client, host string) error {
			path := t.TempDir() + "/config.json"
			c.auth = auth.Files{Paths: []string{path}, Login: path}
			_, err := c.Login(ctx, host, "u", "p")
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(row.serve)
			defer srv.Close()
			defer srv.CloseClientConnections()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			c := patient()
			c.patience.Idle = 100 * time.Millisecond
			if err := row.ask(ctx, c, strings.TrimPrefix(srv.URL, "http://")); err == nil || ctx.Err() != nil {
				t.Errorf("%v, and of the time: %v", err, ctx.Err())
			}
		})
	}
}

// TestLateAnswersAreAskedForAgain has a registry, known to be there, that is silent once.
func TestLateAnswersAreAskedForAgain(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 3000)
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 2 {
			<-r.Context().Done()
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	c, host := patient(), strings.TrimPrefix(srv.URL, "http://")
	c.base.ResponseHeaderTimeout = time.Second
	for range 2 {
		if _, err := c.Tags(context.Background(), host+"/app"); err != nil {
			t.Error(err)
		}
	}
	if n.Load() != 3 {
		t.Errorf("%d requests", n.Load())
	}
}

// TestTokenServersAreAskedAgain has a token that runs out, and a server of tokens that is
// busy just then, or slow for ever.
func TestTokenServersAreAskedAgain(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 3000)
	for name, row := range map[string]struct {
		busy func(w http.ResponseWriter, r *http.Request)
		ok   bool
	}{
		"busy": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, true},
		"torn": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.Write([]byte(`{"tok`))
		}, true},
		"refused": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, false},
	} {
		var tokens, asked atomic.Int64
		var good atomic.Value
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				n := tokens.Add(1)
				if n == 2 {
					row.busy(w, r)
					return
				}
				good.Store(fmt.Sprintf("t%d", n))
				fmt.Fprintf(w, `{"token":"t%d"}`, n)
				return
			}
			if r.Header.Get("Authorization") == fmt.Sprintf("Bearer %v", good.Load()) {
				if asked.Add(1) == 1 {
					defer good.Store("none")
				}
				inner.ServeHTTP(w, r)
				return
			}
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
		}))
		c, host := patient(), strings.TrimPrefix(srv.URL, "http://")
		_, first := c.Tags(context.Background(), host+"/app")
		_, second := c.Tags(context.Background(), host+"/app")
		if first != nil || (second == nil) != row.ok {
			t.Errorf("%s: %v, then %v", name, first, second)
		}
		if want := map[bool]int64{true: 3, false: 2}[row.ok]; tokens.Load() != want {
			t.Errorf("%s: %d tokens were asked for", name, tokens.Load())
		}
		srv.Close()
	}
}
