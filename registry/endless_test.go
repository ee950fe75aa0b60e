package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// endless answers without end, each byte of it asked for with patience.
func endless(w http.ResponseWriter, r *http.Request, sent *int64) {
	piece := make([]byte, 64<<10)
	for r.Context().Err() == nil && *sent < 2<<30 {
		n, err := w.Write(piece)
		if *sent += int64(n); err != nil {
			return
		}
	}
}

// TestEndlessAnswersEnd has registries whose answers have no end, or promise more
// bytes than there are atoms: what is taken of them is small, and so is the memory
// (G6).
func TestEndlessAnswersEnd(t *testing.T) {
	huge := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
		ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, digest.FromString("x"), int64(1)<<62)
	resolve := func(c *Client, host string) error {
		_, err := c.Resolve(context.Background(), host+"/app", nil)
		return err
	}
	var sent int64
	for name, row := range map[string]struct {
		serve http.HandlerFunc
		ask   func(c *Client, host string) error
	}{
		"a refusal": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			endless(w, r, &sent)
		}, resolve},
		"a challenge": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			endless(w, r, &sent)
		}, resolve},
		"a bad request": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			endless(w, r, &sent)
		}, resolve},
		"a token": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/token" {
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			endless(w, r, &sent)
		}, resolve},
		"a manifest": {func(w http.ResponseWriter, r *http.Request) { endless(w, r, &sent) }, resolve},
		"a config of 2^62 bytes": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			fmt.Fprint(w, huge)
		}, resolve},
		"a list of tags": {func(w http.ResponseWriter, r *http.Request) { endless(w, r, &sent) }, func(c *Client, host string) error {
			_, err := c.Tags(context.Background(), host+"/app")
			return err
		}},
		"headers": {func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n")
			for line := "X-Filler: " + strings.Repeat("x", 60<<10) + "\r\n"; sent < 2<<30; {
				n, err := fmt.Fprint(conn, line)
				if sent += int64(n); err != nil {
					return
				}
			}
		}, resolve},
		"a blob of ten bytes": {func(w http.ResponseWriter, r *http.Request) { endless(w, r, &sent) }, func(c *Client, host string) error {
			s, err := c.dial(layers.Name{Registry: host, Repository: "app"}, toPull)
			if err != nil {
				return err
			}
			d := ocispec.Descriptor{Digest: digest.FromString("0123456789"), Size: 10}
			return s.fetchBlob(context.Background(), openStore(t), d, keepBlob(d))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			sent = 0
			srv := httptest.NewServer(row.serve)
			c := patient()
			c.base.ResponseHeaderTimeout = 5 * time.Second
			before := allocated()
			if err := row.ask(c, strings.TrimPrefix(srv.URL, "http://")); err == nil {
				t.Error("no error")
			}
			grown := allocated() - before
			c.base.CloseIdleConnections()
			srv.CloseClientConnections()
			srv.Close() // waits for the handlers, and so for sent
			if sent > 160<<20 || grown > 48<<20 {
				t.Errorf("%d bytes were sent, %d allocated", sent, grown)
			}
		})
	}
}

// allocated is what was ever allocated.
func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}
