package layers

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/hodbuild/hod/layers/archive"
	"github.com/hodbuild/hod/layers/diff/eviltar"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// takers are the ways in which a layer comes into a store from a stranger's file.
var takers = map[string]func(t *testing.T, s *Store, layer []byte) error{
	"import": func(t *testing.T, s *Store, layer []byte) error {
		_, err := s.IngestStream(context.Background(), bytes.NewReader(zipped(layer)), digest.FromBytes(layer))
		return err
	},
	"load of an OCI layout": func(t *testing.T, s *Store, layer []byte) error {
		src := layoutOf(t, layer)
		_, err := s.Load(context.Background(), src)
		return err
	},
	"load of a Docker archive": func(t *testing.T, s *Store, layer []byte) error {
		src, err := archive.Read(bytes.NewReader(dockerArchive(t, layer)), "test")
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		_, err = s.Load(context.Background(), src)
		return err
	},
}

func configOf(t *testing.T, layer []byte) []byte {
	t.Helper()
	host := HostPlatform()
	raw, err := json.Marshal(ocispec.Image{Platform: host, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func layoutOf(t *testing.T, layer []byte) *archive.Source {
	t.Helper()
	config := configOf(t, layer)
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: descOf(ocispec.MediaTypeImageConfig, config), Layers: []ocispec.Descriptor{descOf(ocispec.MediaTypeImageLayer, layer)}}
	m.SchemaVersion = 2
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	sink := archive.NewTar(&out)
	for _, b := range [][]byte{layer, config, raw} {
		if err := sink.Put(descOf("", b), bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	sink.Add(descOf(ocispec.MediaTypeImageManifest, raw), archive.Name{Full: "docker.io/library/evil:v1", Ref: "evil:v1"})
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

func dockerArchive(t *testing.T, layer []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	config := configOf(t, layer)
	list := `[{"Config":"config.json","RepoTags":["evil:v1"],"Layers":["layer.tar"]}]`
	for name, data := range map[string][]byte{"config.json": config, "manifest.json": []byte(list), "layer.tar": layer} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		w.Write(data)
	}
	w.Close()
	return out.Bytes()
}

// The corpus of evil archives, by every way into the store: what must be refused is, and leaves nothing; the harmless
// twins work; nothing outside changes.
func TestEvilLayersByEveryWay(t *testing.T) {
	outside := t.TempDir()
	canary := filepath.Join(outside, "canary")
	if err := os.WriteFile(canary, []byte("alive"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(outside)
	for way, take := range takers {
		t.Run(way, func(t *testing.T) {
			s := reopen(t, filepath.Join(memoryDir(t), "s"))
			for _, c := range eviltar.Cases(outside) {
				err := take(t, s, c.Tar)
				if err == nil && c.Refuse && c.Alone { // seen when it meets what lies below
					err = s.EnsureTree(context.Background(), Chain{digest.FromBytes(c.Tar)}, 0)
				}
				if c.Refuse != (err != nil) {
					t.Errorf("%s, %s: error %v, want one: %t", c.Row, c.Name, err, c.Refuse)
				}
				if c.Refuse && !c.Alone && s.exists(digest.FromBytes(c.Tar)) {
					t.Errorf("%s, %s: something of it is in the store", c.Row, c.Name)
				}
			}
			clean(t, s)
		})
	}
	got, err := os.ReadFile(canary)
	var st unix.Stat_t
	if serr := unix.Stat(canary, &st); err != nil || serr != nil || string(got) != "alive" || st.Nlink != 1 || st.Mode&0o777 != 0o644 {
		t.Errorf("the canary is %q with %d links and mode %o", got, st.Nlink, st.Mode)
	}
	if list, _ := os.ReadDir(outside); len(list) != 1 {
		t.Errorf("files appeared outside: %v", list)
	}
}
