package layers

import (
	"bytes"
	"context"
	"io"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestSpread: a layer that is only a compressed blob is read twice for any number of
// files, in any order: the blob may be gone then. In a store that is only read it is
// read each time.
func TestSpread(t *testing.T) {
	ctx, s := context.Background(), testStore(t)
	raw := tarOf(t, "a=one", "b=two", "c=three", "empty=")
	z := zipped(raw)
	info, err := s.IngestBlob(ctx, gzDesc(z), bytes.NewReader(z), digest.FromBytes(raw), IngestOptions{NoTree: true})
	if err != nil {
		t.Fatal(err)
	}
	if info.HasTree || info.HasTar {
		t.Fatalf("%+v", info)
	}
	readOnly, err := Open(s.root, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, store := range []*Store{readOnly, s} {
		v, err := store.View(ctx, Chain{info.DiffID})
		if err != nil {
			t.Fatal(err)
		}
		expect := func(name, want string) {
			t.Helper()
			f, err := v.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if b, err := io.ReadAll(f); err != nil || string(b) != want {
				t.Errorf("%s: %q, %v", name, b, err)
			}
		}
		for _, file := range [][2]string{{"c", "three"}, {"b", "two"}, {"empty", ""}, {"c", "three"}, {"a", "one"}} {
			expect(file[0], file[1])
		}
		if store != s {
			continue
		}
		path, _, err := s.find("blobs", gzDesc(z).Digest)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		expect("b", "two")
		expect("c", "three")
	}
}
