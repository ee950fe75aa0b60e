package registry

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hodbuild/hod/registry/server"
)

// between lets a test stand between a client and the wire to a host.
func between(t *testing.T, c *Client, host string, wire func(http.RoundTripper) http.RoundTripper) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	ends, err := c.endpoints(host)
	if err != nil {
		t.Fatal(err)
	}
	g := ends[len(ends)-1].rt.(*guard)
	g.inner = wire(g.inner)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestCancellationOfOthers gives requests the connection of one that was canceled just
// then, as net/http may: they are sent again.
func TestCancellationOfOthers(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 60000, 3000)
	srv := httptest.NewServer(inner)
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	for _, kind := range []string{"GET manifest", "GET blob", "HEAD blob", "POST", "PUT manifest"} {
		c, store := patient(), openStore(t)
		if _, err := c.Tags(context.Background(), host+"/app"); err != nil { // so that the host is known
			t.Fatal(err)
		}
		var leaks atomic.Int64
		between(t, c, host, func(wire http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				if kindOf(r) != kind || leaks.Add(1) > 1 {
					return wire.RoundTrip(r)
				}
				if r.Body != nil {
					r.Body.Close()
				}
				return nil, context.Canceled
			})
		})
		_, err := c.PullPlatforms(context.Background(), store, host+"/app", nil)
		if err == nil {
			_, err = c.PushAs(context.Background(), store, host+"/app", host+"/"+strings.ToLower(strings.ReplaceAll(kind, " ", "-"))+":1", PushOptions{})
		}
		if err != nil || leaks.Load() == 0 {
			t.Errorf("%s: %d requests: %v", kind, leaks.Load(), err)
		}
	}
}

// TestCausesStayHome cancels a request with a cause: who asked hears it, the wire does not.
func TestCausesStayHome(t *testing.T) {
	arrived := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}))
	defer srv.Close()
	c, host := patient(), strings.TrimPrefix(srv.URL, "http://")
	wires := make(chan context.Context, 10)
	between(t, c, host, func(wire http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			wires <- r.Context()
			return wire.RoundTrip(r)
		})
	})
	cause := errors.New("what another request met")
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		<-arrived
		cancel(cause)
	}()
	c.mu.Lock()
	rt := c.ends[host][0].rt
	c.mu.Unlock()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/v2/app/tags/list", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rt.RoundTrip(req); !errors.Is(err, cause) {
		t.Errorf("who asked hears %v", err)
	}
	wire := <-wires
	select {
	case <-wire.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the request on the wire goes on")
	}
	if got := context.Cause(wire); got != context.Canceled {
		t.Errorf("the wire hears %v", got)
	}
}
