package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// plainBlobs holds layers uncompressed.
type plainBlobs map[digest.Digest][]byte

func (p plainBlobs) Compressed(_ context.Context, d digest.Digest) (ocispec.Descriptor, error) {
	data, ok := p[d]
	if !ok {
		return ocispec.Descriptor{}, errors.New("no such layer")
	}
	return descriptor(ocispec.MediaTypeImageLayer, data), nil
}

func (p plainBlobs) Open(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(p[desc.Digest])), nil
}

func exported(t *testing.T, min bool) (Folder, []digest.Digest, [2]digest.Digest) {
	t.Helper()
	blobs := plainBlobs{}
	var ids []digest.Digest
	for _, s := range []string{"base", "built", "result"} {
		d := digest.FromString(s)
		blobs[d] = []byte(s)
		ids = append(ids, d)
	}
	var p Portable
	var last [2]digest.Digest
	for _, d := range ids {
		op := Operation("RUN", d.String())
		last = [2]digest.Digest{op, Key(op, nil)}
		p.Add(op, Record{Layer: d}, last[1], Key(op, []Input{Text("content", "x")}))
	}
	if min {
		p.Only([]digest.Digest{ids[2]})
	}
	f := Folder{Dir: t.TempDir()}
	if _, err := p.Export(context.Background(), blobs, f); err != nil {
		t.Fatal(err)
	}
	return f, ids, last
}

func TestExportAndImport(t *testing.T) {
	for _, min := range []bool{false, true} {
		f, ids, last := exported(t, min)
		im, err := Import(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		r := im.Find(last[0], last[1])
		if r == nil || r.Layer != ids[2] {
			t.Fatalf("min %t: got %+v", min, r)
		}
		desc, ok := im.Blob(r.Layer)
		if !ok {
			t.Fatal("no blob")
		}
		rc, err := im.Open(context.Background(), desc)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(verified(rc, desc))
		rc.Close()
		if string(data) != "result" {
			t.Errorf("got %q", data)
		}
		if _, ok := im.Blob(ids[0]); ok == min {
			t.Errorf("min %t: the base's layer is there: %t", min, ok)
		}
	}
}

func TestExportIsReproducible(t *testing.T) {
	a, _, _ := exported(t, false)
	b, _, _ := exported(t, false)
	one, _ := os.ReadFile(filepath.Join(a.Dir, "index.json"))
	two, _ := os.ReadFile(filepath.Join(b.Dir, "index.json"))
	if !bytes.Equal(one, two) {
		t.Errorf("%s\n%s", one, two)
	}
}

func TestImportVerifies(t *testing.T) {
	f, _, _ := exported(t, false)
	blobs, _ := filepath.Glob(f.Dir + "/blobs/sha256/*")
	for _, b := range blobs {
		data, _ := os.ReadFile(b)
		if strings.Contains(string(data), `"steps"`) {
			os.WriteFile(b, bytes.Replace(data, []byte("sha256:"), []byte("sha256;"), 1), 0o644)
		}
	}
	if _, err := Import(context.Background(), f); err == nil || !strings.Contains(err.Error(), "do not match") {
		t.Errorf("got %v", err)
	}
}

func TestInline(t *testing.T) {
	layer, other := digest.FromString("l"), digest.FromString("o")
	op := Operation("COPY")
	var p Portable
	p.Add(op, Record{Layer: layer}, Key(op, nil))
	p.Add(Operation("RUN"), Record{Layer: other}, Key(op, nil))
	raw, err := p.Inline([]digest.Digest{layer})
	if err != nil || strings.Contains(string(raw), other.String()) {
		t.Fatalf("%s, %v", raw, err)
	}
	config, _ := json.Marshal(map[string]any{InlineKey: raw, "rootfs": map[string]any{"diff_ids": []digest.Digest{layer}}})
	f := Folder{Dir: t.TempDir()}
	m, _ := json.Marshal(ocispec.Manifest{Config: descriptor(ocispec.MediaTypeImageConfig, config), Layers: []ocispec.Descriptor{descriptor("x", []byte("l"))}})
	f.Put(context.Background(), descriptor("", config), opener(config))
	if err := f.Publish(context.Background(), descriptor("", m), m); err != nil {
		t.Fatal(err)
	}
	im, err := Import(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	if r := im.Find(op, Key(op, nil)); r == nil || r.Layer != layer {
		t.Errorf("got %+v", r)
	}
}

func TestImportOfAPlainImage(t *testing.T) {
	f := Folder{Dir: t.TempDir()}
	config := []byte(`{"rootfs":{"diff_ids":[]}}`)
	m, _ := json.Marshal(ocispec.Manifest{Config: descriptor(ocispec.MediaTypeImageConfig, config)})
	f.Put(context.Background(), descriptor("", config), opener(config))
	f.Publish(context.Background(), descriptor("", m), m)
	if _, err := Import(context.Background(), f); !errors.Is(err, ErrNoCache) {
		t.Errorf("got %v", err)
	}
}
