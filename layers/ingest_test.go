package layers

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers/compress"
	"github.com/hodbuild/hod/layers/granted"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// tarOf makes a tar of names; a name with a slash at its end is a folder, one
// with an equals sign has content.
func tarOf(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, n := range names {
		name, content, _ := strings.Cut(n, "=")
		h := &tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(content)), ModTime: time.Unix(1e9, 0)}
		if strings.HasSuffix(name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if from, to, ok := strings.Cut(n, "->"); ok {
			h.Name, h.Linkname, h.Typeflag, h.Size, content = from, to, tar.TypeLink, 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, content)
	}
	w.Close()
	return b.Bytes()
}

func zipped(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	return z.Bytes()
}

func gzDesc(z []byte) ocispec.Descriptor { return descOf(ocispec.MediaTypeImageLayerGzip, z) }

func needRoot(t *testing.T) {
	t.Helper()
	granted.NeedRoot(t, "makes trees with owners")
}

func TestIngest(t *testing.T) {
	needRoot(t)
	ctx, s := context.Background(), testStore(t)
	raw := tarOf(t, "etc/", "etc/hosts=127.0.0.1", "bin/", "bin/sh=shell")
	z := zipped(raw)
	info, err := s.IngestBlob(ctx, gzDesc(z), bytes.NewReader(z), digest.FromBytes(raw), IngestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !info.HasTree || info.HasTar || !info.SelfContained || info.Size != int64(len(raw)) || info.Blobs[0].Digest != digest.FromBytes(z) {
		t.Fatalf("%+v", info)
	}
	if _, err := s.IngestBlob(ctx, gzDesc(z), nil, digest.FromBytes(raw), IngestOptions{}); err != nil {
		t.Fatalf("again: %v", err)
	}
	r, err := s.OpenTar(ctx, info.DiffID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, raw) {
		t.Fatalf("tar differs: %v", err)
	}
	v, err := s.View(ctx, Chain{info.DiffID})
	if err != nil {
		t.Fatal(err)
	}
	f, err := v.Open("etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != "127.0.0.1" {
		t.Fatalf("%q, %v", b, err)
	}
	clean(t, s)
}

// Law 3: no byte is believed before the last one was verified (U15, U22).
func TestIngestRefuses(t *testing.T) {
	ctx := context.Background()
	raw := tarOf(t, "a=x")
	z := zipped(raw)
	second := append(bytes.Clone(z), zipped([]byte("trailing"))...)
	flipped := append(bytes.Clone(raw), make([]byte, 512)...)
	flipped[len(flipped)-1] = 1
	for name, c := range map[string]struct {
		desc ocispec.Descriptor
		body []byte
		want digest.Digest
	}{
		"wrong blob":       {descOf(ocispec.MediaTypeImageLayerGzip, []byte("x")), z, ""},
		"wrong diffID":     {gzDesc(z), z, digest.FromString("x")},
		"second member":    {gzDesc(second), second, digest.FromBytes(raw)},
		"bytes behind tar": {gzDesc(zipped(flipped)), zipped(flipped), digest.FromBytes(raw)},
		"cut":              {gzDesc(z), z[:len(z)-6], digest.FromBytes(raw)},
		"longer":           {gzDesc(z), append(bytes.Clone(z), 0), digest.FromBytes(raw)},
		"no tar":           {gzDesc(zipped([]byte("hello"))), zipped([]byte("hello")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := testStore(t)
			if _, err := s.IngestBlob(ctx, c.desc, bytes.NewReader(c.body), c.want, IngestOptions{NoTree: os.Geteuid() != 0}); err == nil {
				t.Fatal("it was taken")
			}
			if s.exists(digest.FromBytes(raw)) || s.exists(c.desc.Digest) {
				t.Fatal("something is visible")
			}
			clean(t, s)
		})
	}
}

func TestManifestForms(t *testing.T) {
	ctx, s := context.Background(), testStore(t)
	raw := tarOf(t, "a=x")
	img := testImage(t, s, string(raw), "x")
	desc, m, err := s.Manifest(ctx, img, ManifestForm{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Resolve("x", nil)
	if err != nil || again.Manifest == nil || again.Manifest.Digest != desc.Digest {
		t.Fatalf("%+v, %v", again, err)
	}
	parsed, err := ParseManifest(desc.MediaType, m)
	if err != nil || len(parsed.Layers) != 1 || parsed.Config.Digest != img.ID {
		t.Fatalf("%s, %v", m, err)
	}
	// The compressed form may be lost: it comes back with its digest.
	os.Remove(first(s.find("blobs", parsed.Layers[0].Digest)))
	if d, _, err := s.Manifest(ctx, again, ManifestForm{}); err != nil || d.Digest != desc.Digest {
		t.Fatalf("%v, %v", d, err)
	}
	if _, err := s.StatBlob(parsed.Layers[0].Digest); err != nil {
		t.Fatal(err)
	}
	zstd, _, err := s.Manifest(ctx, img, ManifestForm{Compression: compress.Spec{Algorithm: compress.Zstd}})
	if err != nil || zstd.Digest == desc.Digest {
		t.Fatalf("zstd: %v, %v", zstd, err)
	}
	docker, m, err := s.Manifest(ctx, img, ManifestForm{Docker: true})
	if err != nil || docker.MediaType != DockerManifest || !bytes.Contains(m, []byte(DockerLayer)) {
		t.Fatalf("docker: %s, %v", m, err)
	}
	clean(t, s)
}

// A layer that omits a parent takes it from the chain, and has a tree per chain.
func TestTreesOnChains(t *testing.T) {
	needRoot(t)
	ctx, s := context.Background(), testStore(t)
	put := func(names ...string) digest.Digest {
		raw := tarOf(t, names...)
		z := zipped(raw)
		info, err := s.IngestBlob(ctx, gzDesc(z), bytes.NewReader(z), digest.FromBytes(raw), IngestOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return info.DiffID
	}
	base, top := put("d/", "d/f=1"), put("d/g=2", "d/h->d/f")
	chain := Chain{base, top}
	if info, _ := s.Layer(top); info.HasTree || info.SelfContained {
		t.Fatalf("%+v", info)
	}
	if err := s.EnsureTree(ctx, chain, 1); err != nil {
		t.Fatal(err)
	}
	path, err := s.treeOf(ctx, chain, 1, chain.ID())
	if err != nil || !strings.Contains(path, treeKey(chain.ID()).Encoded()) {
		t.Fatalf("%q, %v", path, err)
	}
	if b, err := os.ReadFile(filepath.Join(path, "d/h")); err != nil || string(b) != "1" {
		t.Fatalf("%q, %v", b, err)
	}
	if err := s.EnsureTree(ctx, Chain{top}, 0); err == nil {
		t.Fatal("a link to nothing was made")
	}
	s.Close()
	c := reopen(t, s.root)
	mustCollect(t, c, CollectOptions{})
	if _, err := c.Layer(base); !errors.Is(err, ErrNotFound) {
		t.Fatalf("unused layer: %v", err)
	}
	if left, _ := filepath.Glob(c.path("boot/*/*/*/*")); len(left) > 0 {
		t.Fatalf("left: %v", left)
	}
}
