package registry

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/archive"
	"github.com/hodbuild/hod/registry/server"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// nestIndexes pushes an image, and indexes over it, each of which names the one below it
// often, as some tag for each depth; it gives the manifest's digest.
func nestIndexes(t *testing.T, h http.Handler, depth, often int) digest.Digest {
	t.Helper()
	pushImage(t, h, "deep", 100)
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/v2/deep/manifests/latest", nil)
	r.Header.Set("Accept", "*/*")
	h.ServeHTTP(w, r)
	raw, kind := w.Body.Bytes(), w.Header().Get("Content-Type")
	leaf := digest.FromBytes(raw)
	for i := range depth {
		index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
		for range often {
			index.Manifests = append(index.Manifests, ocispec.Descriptor{MediaType: kind, Digest: digest.FromBytes(raw), Size: int64(len(raw))})
		}
		var err error
		if raw, err = json.Marshal(index); err != nil {
			t.Fatal(err)
		}
		kind = index.MediaType
		send(t, h, http.MethodPut, "/v2/deep/manifests/"+strings.Repeat("i", i+1), kind, raw)
	}
	return leaf
}

// countedServer is a registry of our own that counts what it is asked.
func countedServer(t *testing.T) (asked *atomic.Int64, inner http.Handler, srv *httptest.Server) {
	asked, inner = &atomic.Int64{}, server.New(openStore(t), server.Options{})
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return asked, inner, srv
}

// TestIndexesOfIndexes carries indexes in which there are more ways to an image than
// anybody could walk: each manifest is looked at once.
func TestIndexesOfIndexes(t *testing.T) {
	const depth, often = 7, 60
	asked, inner, srv := countedServer(t)
	leaf := nestIndexes(t, inner, depth, often)
	ctx, store, host := t.Context(), openStore(t), strings.TrimPrefix(srv.URL, "http://")
	top, local := host+"/deep:"+strings.Repeat("i", depth), "localhost:1/deep:1"
	copied := func(from, to string) {
		t.Helper()
		asked.Store(0)
		a, err := ParsePlace(from)
		if err != nil {
			t.Fatal(err)
		}
		b, err := ParsePlace(to)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := patient().Copy(ctx, store, a, b, CopyOptions{}); err != nil || asked.Load() > 12*depth {
			t.Fatalf("copy %s to %s: %d requests, %v", from, to, asked.Load(), err)
		}
	}
	folder := t.TempDir() + "/layout"
	copied(top, "oci:"+folder+":1")
	src, err := archive.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if loaded, err := store.Load(ctx, src); err != nil || len(loaded) != 1 {
		t.Fatal(loaded, err)
	}
	refs, err := store.References(ctx)
	if err != nil || len(refs) != 1 {
		t.Fatal(refs, err)
	}
	for _, name := range []string{local, host + "/pushed:1"} {
		if err := store.Tag(ctx, name, refs[0].Target); err != nil {
			t.Fatal(err)
		}
	}
	copied("store:"+local, host+"/copied:1")
	for range 2 { // the second finds it there
		asked.Store(0)
		if _, err := patient().Push(ctx, store, host+"/pushed:1", PushOptions{}); err != nil || asked.Load() > 12*depth {
			t.Fatalf("push: %d requests, %v", asked.Load(), err)
		}
	}
	if images, err := store.Meant(local, nil); err != nil || len(images) != 1 {
		t.Errorf("it means %d images, %v", len(images), err)
	}
	if img, err := store.Resolve(local, nil); err != nil || img.Manifest.Digest != leaf {
		t.Errorf("it resolves to %v, %v", img, err)
	}
	if _, err := store.Resolve(local, &ocispec.Platform{OS: "plan9", Architecture: "mips"}); err == nil {
		t.Error("it resolves for another machine")
	}
	if err := store.Save(ctx, archive.NewTar(io.Discard), []string{local}, nil); err != nil {
		t.Errorf("save: %v", err)
	}
	shows := server.New(store, server.Options{Local: true})
	for path, want := range map[string]int{"manifests/1": 200, "manifests/" + string(leaf): 200, "manifests/" + string(digest.FromString("")): 404, "blobs/" + string(digest.FromString("")): 404} {
		w := httptest.NewRecorder()
		if shows.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/deep/"+path, nil)); w.Code != want {
			t.Errorf("serve --store: %s: %d", path, w.Code)
		}
	}
}

// TestIndexesAreBounded pulls and copies what is no image that anybody made.
func TestIndexesAreBounded(t *testing.T) {
	asked, inner, srv := countedServer(t)
	nestIndexes(t, inner, maxDeep+1, 200)
	host, ctx := strings.TrimPrefix(srv.URL, "http://"), context.Background()
	if _, err := patient().PullPlatforms(ctx, openStore(t), host+"/deep:i", nil); err != nil || asked.Load() > 10 {
		t.Errorf("an index that names one image 200 times: %d requests, %v", asked.Load(), err)
	}
	store := openStore(t)
	for _, platforms := range [][]ocispec.Platform{nil, {layers.HostPlatform()}} {
		if _, err := patient().PullPlatforms(ctx, store, host+"/deep:ii", platforms); err == nil {
			t.Errorf("pull of an index of indexes for %v", platforms)
		}
	}
	from, err := ParsePlace(host + "/deep:" + strings.Repeat("i", maxDeep+1))
	if err != nil {
		t.Fatal(err)
	}
	to, err := ParsePlace("oci:" + t.TempDir() + "/layout:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = patient().Copy(ctx, store, from, to, CopyOptions{}); err == nil || !strings.Contains(err.Error(), "too many manifests") {
		t.Errorf("copy of indexes %d deep: %v", maxDeep+1, err)
	}
	if refs, err := store.References(ctx); err != nil || len(refs) > 0 {
		t.Errorf("the store has %v, %v", refs, err)
	}
}
