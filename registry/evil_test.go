package registry

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/diff/eviltar"
	"github.com/hodbuild/hod/registry/server"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A registry takes any blob: it unpacks none. Who pulls one that is evil refuses it, and has nothing of it.
func TestPullOfEvilLayers(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "canary"), []byte("alive"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(outside)
	h := server.New(openStore(t), server.Options{})
	front := httptest.NewServer(h)
	defer front.Close()
	store := openStore(t)
	seen := map[string]int{}
	for _, c := range eviltar.Cases(outside) {
		if seen[c.Row]++; seen[c.Row] > 12 { // the whole corpus is for the unpacker
			continue
		}
		pushLayer(t, h, "evil", c.Tar)
		_, _, err := patient().Pull(t.Context(), store, strings.TrimPrefix(front.URL, "http://")+"/evil:latest", PullOptions{})
		if c.Refuse != (err != nil) && !c.Alone {
			t.Errorf("%s, %s: error %v, want one: %t", c.Row, c.Name, err, c.Refuse)
		}
	}
	if r, err := store.Check(t.Context(), layers.CheckOptions{}); err != nil || len(r.Problems) > 0 {
		t.Errorf("%v: %v", r.Problems, err)
	}
	if list, _ := os.ReadDir(outside); len(list) != 1 {
		t.Errorf("files appeared outside: %v", list)
	}
}

// pushLayer puts an image of one layer into a repository, by hand.
func pushLayer(t *testing.T, h http.Handler, repo string, tar []byte) {
	t.Helper()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(tar)
	w.Close()
	put := func(kind string, b []byte) ocispec.Descriptor {
		d := digest.FromBytes(b)
		send(t, h, http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+string(d), "application/octet-stream", b)
		return ocispec.Descriptor{MediaType: kind, Digest: d, Size: int64(len(b))}
	}
	host := layers.HostPlatform()
	config, err := json.Marshal(ocispec.Image{Platform: host, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(tar)}}})
	if err != nil {
		t.Fatal(err)
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	m.Layers = []ocispec.Descriptor{put(ocispec.MediaTypeImageLayerGzip, z.Bytes())}
	m.Config = put(ocispec.MediaTypeImageConfig, config)
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	send(t, h, http.MethodPut, "/v2/"+repo+"/manifests/latest", m.MediaType, raw)
}
