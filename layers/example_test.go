package layers_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/hodbuild/hod/layers"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A layer comes in as a stream, becomes part of an image, and its files are seen
// without a mount or a privilege.
func Example() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := layers.Open(dir, layers.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	ctx := context.Background()
	layer, err := store.IngestStream(ctx, greeting(), "")
	if err != nil {
		log.Fatal(err)
	}
	chain := layers.Chain{layer.DiffID}
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%q]}}`, layer.DiffID)
	image, err := store.PutImage(ctx, []byte(config), chain, layers.PutImageOptions{})
	if err != nil {
		log.Fatal(err)
	}
	err = store.Tag(ctx, "greet", ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: image.ID, Size: int64(len(config))})
	if err != nil {
		log.Fatal(err)
	}

	if image, err = store.Resolve("greet", nil); err != nil {
		log.Fatal(err)
	}
	view, err := store.View(ctx, image.Chain)
	if err != nil {
		log.Fatal(err)
	}
	f, err := view.Open("greeting.txt")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	fmt.Printf("%s%v\n", text, err)
	// Output:
	// hello
	// <nil>
}

// greeting is a tar of one file.
func greeting() io.Reader {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h := &tar.Header{Name: "greeting.txt", Typeflag: tar.TypeReg, Mode: 0o644, Size: 6}
	if err := w.WriteHeader(h); err != nil {
		log.Fatal(err)
	}
	if _, err := w.Write([]byte("hello\n")); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	return &b
}
