package layers

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/hodbuild/hod/layers/archive"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// anArchive writes an image of one layer into a tar, changed by the test.
func anArchive(t *testing.T, change func(config *ocispec.Image, m *ocispec.Manifest)) *archive.Source {
	t.Helper()
	var layer, out bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "file", Mode: 0o644, Size: 0}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	describe := func(mediaType string, raw []byte) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	}
	encode := func(v any) []byte {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	config := ocispec.Image{Platform: HostPlatform(), RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer.Bytes())}}}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{describe(ocispec.MediaTypeImageLayer, layer.Bytes())}}
	m.SchemaVersion = 2
	change(&config, nil)
	rawConfig := encode(config)
	m.Config = describe(ocispec.MediaTypeImageConfig, rawConfig)
	change(&ocispec.Image{}, &m)
	rawManifest := encode(m)
	sink := archive.NewTar(&out)
	for _, raw := range [][]byte{layer.Bytes(), rawConfig, rawManifest} {
		if err := sink.Put(describe("", raw), bytes.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
	}
	sink.Add(describe(ocispec.MediaTypeImageManifest, rawManifest), archive.Name{Full: "docker.io/library/x:v1", Ref: "x:v1"})
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	src, err := archive.Read(&out, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

// TestLoadRefuses: manifests, configs and layers that do not fit each other are
// errors, and no name appears (U22).
func TestLoadRefuses(t *testing.T) {
	wrong := digest.FromString("something else")
	mutants := map[string]func(*ocispec.Image, *ocispec.Manifest){
		"wrong diffID":    func(c *ocispec.Image, _ *ocispec.Manifest) { c.RootFS.DiffIDs = []digest.Digest{wrong} },
		"bad diffID":      func(c *ocispec.Image, _ *ocispec.Manifest) { c.RootFS.DiffIDs = []digest.Digest{"sha256:../../x"} },
		"too few diffIDs": func(c *ocispec.Image, _ *ocispec.Manifest) { c.RootFS.DiffIDs = nil },
		"size short":      onManifest(func(m *ocispec.Manifest) { m.Layers[0].Size-- }),
		"size long":       onManifest(func(m *ocispec.Manifest) { m.Layers[0].Size++ }),
		"layer missing":   onManifest(func(m *ocispec.Manifest) { m.Layers[0].Digest = wrong }),
		"config missing":  onManifest(func(m *ocispec.Manifest) { m.Config.Digest = wrong }),
		"config short":    onManifest(func(m *ocispec.Manifest) { m.Config.Size-- }),
		"wrong data":      onManifest(func(m *ocispec.Manifest) { m.Config.Data = []byte("{}") }),
		"no layers":       onManifest(func(m *ocispec.Manifest) { m.Layers = []ocispec.Descriptor{} }),
	}
	for name, change := range mutants {
		t.Run(name, func(t *testing.T) {
			s := testLoadStore(t)
			if _, err := s.Load(context.Background(), anArchive(t, change)); err == nil {
				t.Error("it is loaded")
			}
			if refs, err := s.References(context.Background()); err != nil || len(refs) > 0 {
				t.Errorf("references %v, %v", refs, err)
			}
		})
	}
	s := testLoadStore(t)
	list, err := s.Load(context.Background(), anArchive(t, func(*ocispec.Image, *ocispec.Manifest) {}))
	if err != nil || len(list) != 1 || len(list[0].Names) != 1 {
		t.Errorf("the right one: %+v, %v", list, err)
	}
}

func onManifest(change func(*ocispec.Manifest)) func(*ocispec.Image, *ocispec.Manifest) {
	return func(_ *ocispec.Image, m *ocispec.Manifest) {
		if m != nil {
			change(m)
		}
	}
}

func testLoadStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// nested is an archive of an index in an index, and so on, each naming the next one often.
func nested(t *testing.T, depth, often int) *archive.Source {
	t.Helper()
	var out bytes.Buffer
	sink := archive.NewTar(&out)
	put := func(mediaType string, raw []byte) ocispec.Descriptor {
		d := descOf(mediaType, raw)
		if err := sink.Put(d, bytes.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	encode := func(v any) []byte {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	layer := emptyTarOf(t)
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: put(ocispec.MediaTypeImageConfig, configOf(t, layer)), Layers: []ocispec.Descriptor{put(ocispec.MediaTypeImageLayer, layer)}}
	m.SchemaVersion = 2
	top := put(m.MediaType, encode(m))
	for range depth {
		x := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: slices.Repeat([]ocispec.Descriptor{top}, often)}
		x.SchemaVersion = 2
		top = put(x.MediaType, encode(x))
	}
	sink.Add(top, archive.Name{Full: "docker.io/library/deep:v1", Ref: "deep:v1"})
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	src, err := archive.Read(&out, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

func emptyTarOf(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Indexes that lie too deep in each other are refused; those that name the next one a thousand times cost no more than
// those that name it once (U23).
func TestLoadOfDeepIndexes(t *testing.T) {
	for _, c := range []struct {
		depth, often int
		refuse       bool
	}{{1, 1, false}, {maxDepth - 1, 1000, false}, {maxDepth + 1, 1, true}, {200, 2, true}} {
		s := testLoadStore(t)
		_, err := s.Load(context.Background(), nested(t, c.depth, c.often))
		if (err != nil) != c.refuse {
			t.Errorf("%d deep, %d times each: %v", c.depth, c.often, err)
		}
		if refs, rerr := s.References(context.Background()); rerr != nil || (len(refs) > 0) == c.refuse {
			t.Errorf("%d deep: references %v, %v", c.depth, refs, rerr)
		}
	}
}

// A layer of a kind that nobody here unpacks makes no image, and hints of other tools about a layer's content count
// nothing: the verified tar does (U30).
func TestLayersOfOtherKinds(t *testing.T) {
	for _, kind := range []string{"application/vnd.erofs.layer.v1", "application/vnd.oci.image.layer.v1.tar+lz4", "application/vnd.oci.image.layer.nondistributable.v1.erofs"} {
		s := testLoadStore(t)
		_, err := s.Load(context.Background(), anArchive(t, onManifest(func(m *ocispec.Manifest) { m.Layers[0].MediaType = kind })))
		if err == nil {
			_, err = s.Resolve("x:v1", nil)
		}
		if err == nil {
			t.Errorf("a layer of type %s is an image's", kind)
		}
	}
	s := testLoadStore(t)
	_, err := s.Load(context.Background(), anArchive(t, onManifest(func(m *ocispec.Manifest) {
		m.Layers[0].Annotations = map[string]string{
			"io.github.containers.zstd-chunked.manifest-checksum": string(digest.FromString("lies")),
			"containerd.io/snapshot/stargz/toc.digest":            string(digest.FromString("lies")),
			ocispec.AnnotationTitle:                               "../../../etc/passwd",
		}
	})))
	if err != nil {
		t.Fatal(err)
	}
	img, err := s.Resolve("x:v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	x, err := s.Index(context.Background(), img.Chain[0])
	if err != nil || len(x.Entries) != 1 || x.Entries[0].Path != "file" {
		t.Errorf("the layer holds %+v, %v", x, err)
	}
}
