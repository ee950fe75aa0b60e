package registry

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/granted"
	"github.com/hodbuild/hod/registry/auth"
	"github.com/hodbuild/hod/registry/transfer"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func openStore(t *testing.T) *layers.Store {
	t.Helper()
	s, err := layers.Open(filepath.Join(t.TempDir(), "store"), layers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// patient is a client that waits as often as a real one, but not as long.
func patient() *Client {
	c := New(Options{})
	c.auth = auth.Files{}
	c.base.ResponseHeaderTimeout = 20 * time.Second
	c.patience = transfer.Patience{Idle: 400 * time.Millisecond, Pause: time.Millisecond, Limit: 5 * time.Millisecond}
	return c
}

func send(t *testing.T, h http.Handler, method, path, contentType string, body []byte) {
	t.Helper()
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusCreated {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
}

// pushImage puts an image of some layers into a repository, by hand.
func pushImage(t *testing.T, h http.Handler, repo string, sizes ...int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	put := func(kind string, b []byte) ocispec.Descriptor {
		d := digest.FromBytes(b)
		send(t, h, http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+string(d), "application/octet-stream", b)
		return ocispec.Descriptor{MediaType: kind, Digest: d, Size: int64(len(b))}
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	host := layers.HostPlatform()
	config := ocispec.Image{Platform: ocispec.Platform{OS: host.OS, Architecture: host.Architecture}, RootFS: ocispec.RootFS{Type: "layers"}}
	for i, size := range sizes {
		plain, packed := layer(t, rnd, fmt.Sprintf("file%d", i), size)
		m.Layers = append(m.Layers, put(ocispec.MediaTypeImageLayerGzip, packed))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(plain))
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = put(ocispec.MediaTypeImageConfig, raw)
	if raw, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	send(t, h, http.MethodPut, "/v2/"+repo+"/manifests/latest", m.MediaType, raw)
}

func layer(t *testing.T, rnd *rand.Rand, name string, size int) (plain, packed []byte) {
	t.Helper()
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(rnd.Uint32())
	}
	var b, z bytes.Buffer
	tw, zw := tar.NewWriter(&b), gzip.NewWriter(&z)
	err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(size), ModTime: time.Unix(315532800, 0)})
	_, werr := tw.Write(content)
	err = errors.Join(err, werr, tw.Close())
	_, werr = zw.Write(b.Bytes())
	if err = errors.Join(err, werr, zw.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), z.Bytes()
}

func needRoot(t *testing.T) {
	t.Helper()
	granted.NeedRoot(t, "unpacks the owners of files")
}

// TestPullGoesOnWhereItWas counts the bytes over a line that breaks all the time.
func TestPullGoesOnWhereItWas(t *testing.T) {
	c := newCarrier(t, nil)
	const size = 4 << 20
	pushImage(t, c.server, "app", size)
	c.line.rnd, c.line.kind, c.line.times = rand.New(rand.NewPCG(3, 4)), "GET blob", 0
	store, client := openStore(t), patient()
	r, err := client.Resolve(context.Background(), c.host+"/app", nil)
	if err != nil {
		t.Fatal(err)
	}
	d := r.Manifest.Layers[0]
	c.line.fault, c.line.times = faults[1], 12
	c.line.bytes.Store(0)
	for range 4 { // each run may give up; the next goes on
		if err = r.session.fetchBlob(context.Background(), store, d, keepBlob(d)); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if sent := c.line.bytes.Load(); sent > d.Size*105/100 {
		t.Errorf("%d bytes were sent for a blob of %d", sent, d.Size)
	}
}

// TestPullTrustsNoPartialFile begins with what a crash or a liar left behind.
func TestPullTrustsNoPartialFile(t *testing.T) {
	c := newCarrier(t, nil)
	pushImage(t, c.server, "app", 50000)
	for name, left := range map[string][]byte{
		"wrong bytes": bytes.Repeat([]byte{7}, 1000), "too long": make([]byte, 90000), "empty": nil,
	} {
		store, client := openStore(t), patient()
		r, err := client.Resolve(context.Background(), c.host+"/app", nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := store.Partial(string(r.Manifest.Layers[0].Digest))
		if err == nil { // the journal says that they are good
			_, err = p.File().Write(left)
			err = errors.Join(err, p.SetState(fmt.Appendf(nil, `[{"From":0,"To":%d}]`, len(left))))
		}
		if err = errors.Join(err, p.Close()); err != nil {
			t.Fatal(err)
		}
		if err := pullBlobs(t, client, store, c.host+"/app"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPullOfALayerTwice has one layer in two places, and two pulls at once.
func TestPullOfALayerTwice(t *testing.T) {
	c := newCarrier(t, nil)
	pushImage(t, c.server, "app", 50000)
	store := openStore(t)
	r, err := patient().Resolve(context.Background(), c.host+"/app", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Manifest.Layers = append(r.Manifest.Layers, r.Manifest.Layers[0])
	r.Chain = append(r.Chain, r.Chain[0])
	r.Config = fmt.Appendf(nil, `{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[%q,%q]}}`, r.Chain[0], r.Chain[1])
	r.Manifest.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(r.Config), Size: int64(len(r.Config))}
	if r.Raw, err = json.Marshal(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: r.Manifest.Config, Layers: r.Manifest.Layers}); err != nil {
		t.Fatal(err)
	}
	r.Desc = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(r.Raw), Size: int64(len(r.Raw))}
	failed := make(chan error, 2)
	for range 2 {
		go func() {
			lease, err := store.Lease(context.Background(), "test")
			if err == nil {
				err = errors.Join(patientFetch(store, lease, r), lease.Close())
			}
			failed <- err
		}()
	}
	if err := errors.Join(<-failed, <-failed); err != nil {
		t.Error(err)
	}
}

func patientFetch(store *layers.Store, lease *layers.Lease, r *Remote) error {
	_, err := patient().fetch(context.Background(), store, lease, r, layers.IngestOptions{NoTree: true})
	return err
}

// TestCredentialsStayWithTheirRegistry shows a password to one registry, which
// sends everything elsewhere.
func TestCredentialsStayWithTheirRegistry(t *testing.T) {
	stranger := &canary{}
	away := httptest.NewServer(stranger)
	defer away.Close()
	var own atomic.Int64
	for _, code := range []int{301, 302, 303, 307, 308} {
		home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, ok := r.BasicAuth(); !ok || user != "u" || password != "p" {
				w.Header().Set("WWW-Authenticate", `Basic realm="home"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			own.Add(1)
			http.Redirect(w, r, away.URL+r.URL.Path, code)
		}))
		client := patient()
		host := strings.TrimPrefix(home.URL, "http://")
		path := filepath.Join(t.TempDir(), "config.json")
		client.auth = auth.Files{Paths: []string{path}, Login: path}
		if _, err := client.auth.Save(context.Background(), host, auth.Credential{User: "u", Password: "p"}); err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		_, err := client.Resolve(ctx, host+"/app", nil)
		if err == nil {
			t.Errorf("%d: the stranger's answer was taken", code)
		}
		client.Delete(ctx, host+"/app:x")
		s, err := client.dial(layers.Name{Registry: host, Repository: "app"}, toPush)
		if err != nil {
			t.Fatal(err)
		}
		l, err := s.writer(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, method := range []string{"HEAD", "POST", "PATCH", "PUT"} {
			if resp, err := l.Once(ctx, method, "/v2/app/x", nil, transfer.Bytes([]byte("x"))); err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}
		home.Close()
	}
	if own.Load() == 0 || stranger.calls.Load() == 0 || stranger.shown.Load() != 0 {
		t.Errorf("home saw %d, the stranger %d calls, %d with a credential", own.Load(), stranger.calls.Load(), stranger.shown.Load())
	}
}

// TestNoPlainTextToOthers asks for hosts that the library would speak to
// without TLS by itself.
func TestNoPlainTextToOthers(t *testing.T) {
	client := New(Options{PlainHTTP: []string{"named.example:5000"}})
	for host, plain := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:5000": true, "127.9.9.9": true, "[::1]:5000": true, "named.example:5000": true,
		"10.0.0.1:5000": false, "192.168.1.1": false, "registry.local": false, "named.example": false, "localhost.example": false,
	} {
		if client.plain(host) != plain {
			t.Errorf("%s: plain %v", host, !plain)
		}
		if plain {
			continue
		}
		req := httptest.NewRequest(http.MethodGet, "http://"+host+"/v2/", nil)
		var refused *plainTextError
		guard := &guard{inner: client.base, others: &wires{c: client, known: map[other]*http.Transport{}}, plain: client.plain}
		if _, err := guard.RoundTrip(req); !errors.As(err, &refused) {
			t.Errorf("%s: %v", host, err)
		}
	}
}
