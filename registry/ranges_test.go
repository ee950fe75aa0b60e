package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/server"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// far is a registry with one blob that notes what it is asked.
type far struct {
	*httptest.Server
	blob   digest.Digest
	ranged bool // answers ranges
	gate   func()

	mu  sync.Mutex // guards what follows
	got []string
}

func newFar(t *testing.T, content []byte) *far {
	t.Helper()
	store := openStore(t)
	f := &far{blob: digest.FromBytes(content), ranged: true, gate: func() {}}
	if err := store.PutBlob(context.Background(), ocispec.Descriptor{Digest: f.blob, Size: int64(len(content))}, bytes.NewReader(content), false); err != nil {
		t.Fatal(err)
	}
	if err := store.LinkBlob("app", f.blob); err != nil {
		t.Fatal(err)
	}
	inner := server.New(store, server.Options{})
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			f.mu.Lock()
			f.got = append(f.got, r.Header.Get("Range"))
			f.mu.Unlock()
			if !f.ranged {
				r.Header.Del("Range")
			}
			f.gate()
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *far) fetch(t *testing.T, o Options) {
	t.Helper()
	c, store := New(o), openStore(t)
	n, err := layers.ParseName(strings.TrimPrefix(f.URL, "http://") + "/app@" + string(f.blob))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.dial(n, toPull)
	if err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{Digest: f.blob, Size: rangedSize}
	if err := s.fetchBlob(context.Background(), store, d, keepBlob(d)); err != nil {
		t.Fatal(err)
	}
	b, err := store.OpenBlob(f.blob)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got, err := digest.FromReader(b); got != f.blob || err != nil {
		t.Errorf("the blob became %s: %v", got, err)
	}
}

const rangedSize = 40<<20 + 17

// TestRangesOfOneLayer lets two pieces be asked for before either is answered:
// without parallel ranges that would never end.
func TestRangesOfOneLayer(t *testing.T) {
	content := make([]byte, rangedSize)
	rand.Read(content)
	f := newFar(t, content)
	var first sync.Once
	second := make(chan struct{})
	n := 0
	f.gate = func() {
		f.mu.Lock()
		n++
		at := n
		f.mu.Unlock()
		if at == 3 {
			first.Do(func() { close(second) })
		}
		if at == 2 { // the first tells that there are ranges; the second waits for the third
			<-second
		}
	}
	f.fetch(t, Options{Ranges: 3})
	if len(f.got) < 4 {
		t.Errorf("%d requests: %v", len(f.got), f.got)
	}
	for _, r := range f.got {
		if !strings.HasPrefix(r, "bytes=") {
			t.Errorf("a request without a range: %v", f.got)
		}
	}
	f.gate, f.got = func() {}, nil
	f.ranged = false
	f.fetch(t, Options{Ranges: 3})
	if len(f.got) != 1 {
		t.Errorf("without ranges %d requests: %v", len(f.got), f.got)
	}
}

// TestLayersAreLinkedNotSent pushes an image that came from one repository into
// another of the same registry: no layer goes over the line.
func TestLayersAreLinkedNotSent(t *testing.T) {
	needRoot(t)
	inner := server.New(openStore(t), server.Options{})
	sent := &counter{inner: inner}
	srv := httptest.NewServer(sent)
	defer srv.Close()
	pushImage(t, inner, "one", 60000, 3000)
	host := strings.TrimPrefix(srv.URL, "http://")
	store, ctx := openStore(t), context.Background()
	var mu sync.Mutex
	seen := map[string]int{}
	c := New(Options{Progress: func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		seen[e.Action]++
	}})
	if _, _, err := c.Pull(ctx, store, host+"/one", PullOptions{}); err != nil {
		t.Fatal(err)
	}
	sent.bytes.Store(0)
	want, err := c.PushAs(ctx, store, host+"/one", host+"/two", PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if sent.bytes.Load() != 0 || seen["mounted"] != 3 || seen["upload"] != 0 {
		t.Errorf("%d bytes of blobs passed, events %v", sent.bytes.Load(), seen)
	}
	got, err := c.Digest(ctx, host+"/two")
	if err != nil || got != want.Digest {
		t.Errorf("two is %s, %v", got, err)
	}
	to := Place{Kind: "registry", Name: host + "/three:x"}
	if _, err := c.Copy(ctx, store, Place{Kind: "registry", Name: host + "/one:latest"}, to, CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if sent.bytes.Load() != 0 {
		t.Errorf("a copy within a registry moved %d bytes", sent.bytes.Load())
	}
}

// TestHostsFile reads how hosts are reached: mirrors in their order, one that is
// down, capabilities, headers, another path, and certificates.
func TestHostsFile(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 100)
	var mu sync.Mutex
	var log []string
	note := func(who string, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			log = append(log, who+" "+r.Method+" "+r.URL.Path+" ns="+r.URL.Query().Get("ns")+" x="+r.Header.Get("X-Mine"))
			mu.Unlock()
			h.ServeHTTP(w, r)
		})
	}
	mirror := httptest.NewTLSServer(note("mirror", http.StripPrefix("/deep", inner)))
	defer mirror.Close()
	upstream := httptest.NewServer(note("upstream", inner))
	defer upstream.Close()
	dead := httptest.NewServer(nil)
	dead.Close()
	dir := t.TempDir()
	host := strings.TrimPrefix(upstream.URL, "http://")
	write := func(text string) {
		t.Helper()
		at := filepath.Join(dir, host)
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, "hosts.toml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	digestOf := func() error {
		log = nil
		c := New(Options{HostDirs: []string{dir}})
		c.patience.Pause = 1
		_, err := c.Digest(context.Background(), host+"/app")
		return err
	}
	ca := filepath.Join(dir, host, "ca.pem")
	write("server = \"" + upstream.URL + "\"\n[host.\"" + dead.URL + "\"]\n[host.\"" + mirror.URL + "/deep/v2\"]\ncapabilities = [\"pull\", \"resolve\"]\noverride_path = true\nca = \"ca.pem\"\n[host.\"" + mirror.URL + "/deep/v2\".header]\nx-mine = \"yes\"\n")
	if err := digestOf(); err == nil || !strings.Contains(err.Error(), "ca.pem") {
		t.Errorf("a certificate that is not there: %v", err)
	}
	if err := os.WriteFile(ca, certPEM(mirror.Certificate().Raw), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := digestOf(); err != nil {
		t.Fatal(err)
	}
	for _, l := range log {
		if !strings.HasPrefix(l, "mirror") || !strings.HasSuffix(l, "x=yes") || !strings.Contains(l, "/deep/v2/") {
			t.Errorf("asked %q", log)
		}
	}
	if last := log[len(log)-1]; !strings.Contains(last, "ns="+host) {
		t.Errorf("a mirror is not told whose: %q", last)
	}
	write("[host.\"" + mirror.URL + "\"]\n") // its certificate is unknown, so upstream is asked
	if err := digestOf(); err != nil || !strings.HasPrefix(log[len(log)-1], "upstream") {
		t.Errorf("%v: asked %q", err, log)
	}
	write("[host.\"" + mirror.URL + "/deep\"]\nskip_verify = true\n")
	if err := digestOf(); err != nil || !strings.HasPrefix(log[len(log)-1], "mirror") {
		t.Errorf("skip_verify: %v: asked %q", err, log)
	}
	for _, bad := range []string{"servr = \"x\"", "[host.\"ftp://x\"]", "[host.\"https://x\"]\ncapabilities = [\"fly\"]", "[host", "[host.\"https://x\"]\nclient = 7"} {
		write("# a comment\n" + bad)
		if err := digestOf(); err == nil || !strings.Contains(err.Error(), "hosts.toml") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestCopyKeepsWhatRefers copies an image with a referrer, and one with a
// signature of the old kind, through a layout, and to a registry that knows no
// referrers.
func TestCopyKeepsWhatRefers(t *testing.T) {
	one, two := server.New(openStore(t), server.Options{}), server.New(openStore(t), server.Options{})
	old := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/referrers/") {
			http.NotFound(w, r)
			return
		}
		two.ServeHTTP(&silent{w}, r)
	})
	a, b := httptest.NewServer(one), httptest.NewServer(old)
	defer a.Close()
	defer b.Close()
	pushImage(t, one, "app", 1000)
	from, to := strings.TrimPrefix(a.URL, "http://")+"/app", strings.TrimPrefix(b.URL, "http://")+"/app"
	c, ctx, store := New(Options{}), context.Background(), openStore(t)
	desc, _, err := c.Manifest(ctx, from)
	if err != nil {
		t.Fatal(err)
	}
	refer(t, one, "app", desc, "")
	refer(t, one, "app", desc, fallbackTag(desc.Digest)+".sig")
	layout := Place{Kind: "oci", Path: filepath.Join(t.TempDir(), "layout"), Name: "v1"}
	if _, err := c.Copy(ctx, store, Place{Kind: "registry", Name: from + ":latest"}, layout, CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Copy(ctx, store, layout, Place{Kind: "registry", Name: to + ":v2"}, CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	list, err := c.Referrers(ctx, to+":v2")
	if err != nil || len(list) != 2 {
		t.Errorf("referrers behind the layout: %v, %v", list, err)
	}
	if _, err := c.Copy(ctx, store, Place{Kind: "registry", Name: from + ":latest"}, Place{Kind: "registry", Name: to + ":v3"}, CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Digest(ctx, to+":"+fallbackTag(desc.Digest)+".sig"); err != nil {
		t.Errorf("the signature's tag: %v", err)
	}
}

// silent takes away what tells that a registry knows referrers.
type silent struct{ http.ResponseWriter }

func (s *silent) WriteHeader(code int) {
	s.Header().Del("OCI-Subject")
	s.ResponseWriter.WriteHeader(code)
}

// refer pushes an artifact whose subject is a manifest.
func refer(t *testing.T, h http.Handler, repo string, subject ocispec.Descriptor, tag string) {
	t.Helper()
	config := []byte(`{"for":"` + tag + `"}`)
	d := digest.FromBytes(config)
	send(t, h, http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+string(d), "application/octet-stream", config)
	raw := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","artifactType":"text/x-signature","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"` + string(d) + `","size":` + itoa(len(config)) + `},"layers":[],"subject":{"mediaType":"` + subject.MediaType + `","digest":"` + string(subject.Digest) + `","size":` + itoa(int(subject.Size)) + `}}`)
	ref := tag
	if ref == "" {
		ref = string(digest.FromBytes(raw))
	}
	send(t, h, http.MethodPut, "/v2/"+repo+"/manifests/"+ref, ocispec.MediaTypeImageManifest, raw)
}

// TestBlobsOfAnotherSizeStop has a registry that sends without end.
func TestBlobsOfAnotherSizeStop(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return
		}
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}))
	defer func() { endless.CloseClientConnections(); endless.Close() }()
	c, store := patient(), openStore(t)
	d := ocispec.Descriptor{Digest: digest.FromString("x"), Size: 1000}
	n, err := layers.ParseName(strings.TrimPrefix(endless.URL, "http://") + "/app")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.dial(n, toPull)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.fetchBlob(context.Background(), store, d, keepBlob(d)); err == nil {
		t.Error("an endless body is a blob")
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
