package layers

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// FuzzParseManifest: a document is an index or a manifest and never both, all its digests can be paths, and it reads the
// same when it is written again.
func FuzzParseManifest(f *testing.F) {
	d := `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"` + string(digest.FromString("x")) + `","size":1}`
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` + d + `,"layers":[` + d + `]}`))
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + d + `]}`))
	f.Add([]byte(`{"layers":[],"manifests":[],"layers":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseManifest("", raw)
		if err != nil {
			return
		}
		if m.IsIndex() && (len(m.Layers) > 0 || m.Config.Digest != "") || !m.IsIndex() && len(m.Manifests) > 0 {
			t.Fatal("read as both")
		}
		for _, c := range append(append([]ocispec.Descriptor{}, m.Manifests...), m.Layers...) {
			if validDigest(c.Digest) != nil || c.Size < 0 {
				t.Fatalf("accepted %q of %d bytes", c.Digest, c.Size)
			}
		}
	})
}

// FuzzRecords: whatever lies in a record of the store, check and collection get over it.
func FuzzRecords(f *testing.F) {
	f.Add("info", []byte(`{"size":-1}`))
	f.Add("index", []byte(`{"entries":[{"path":"../x","type":48}]}`))
	f.Add("image", []byte(`{"manifest":{"digest":"sha256:../../x"}}`))
	f.Fuzz(func(t *testing.T, which string, data []byte) {
		ctx, s := context.Background(), testStoreOn(t, memoryDir(t))
		img := testImage(t, s, string(emptyTar("f")), "named")
		paths := map[string]string{
			"info": s.kept("layers", img.Chain[0]) + "/info", "index": s.kept("layers", img.Chain[0]) + "/index", "image": s.imagePath(img.ID),
		}
		path, ok := paths[which]
		if !ok {
			return
		}
		if err := s.writeRecord(path, data, false); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Check(ctx, CheckOptions{Repair: true}); err != nil {
			t.Fatalf("check: %v", err)
		}
		if _, err := s.Collect(ctx, CollectOptions{}); err != nil {
			t.Fatalf("collect: %v", err)
		}
	})
}

// FuzzIndex: an index that can be read is written and read again as the same.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"entries":[{"path":"a","type":53},{"path":"a/b","type":48,"size":3}],"selfContained":true,"size":1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, err := diff.ReadIndex(bytes.NewReader(raw))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := x.Encode(&b); err != nil {
			return // a time that JSON cannot say
		}
		y, err := diff.ReadIndex(&b)
		if err != nil {
			t.Fatal(err)
		}
		one, _ := json.Marshal(x)
		two, _ := json.Marshal(y)
		if !bytes.Equal(one, two) {
			t.Fatalf("%s\n%s", one, two)
		}
	})
}
