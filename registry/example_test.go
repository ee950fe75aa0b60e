package registry_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry"
	"github.com/hodbuild/hod/registry/server"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An image goes from one store through a registry into another.
func Example() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	here, there, served := open(dir, "here"), open(dir, "there"), open(dir, "served")
	defer here.Close()
	defer there.Close()
	defer served.Close()

	front := httptest.NewServer(server.New(served, server.Options{}))
	defer front.Close()
	name := strings.TrimPrefix(front.URL, "http://") + "/team/empty:v1"

	ctx := context.Background()
	config := []byte(`{"architecture":"amd64","os":"linux","config":{"Labels":{"answer":"42"}},"rootfs":{"type":"layers","diff_ids":[]}}`)
	image, err := here.PutImage(ctx, config, nil, layers.PutImageOptions{})
	if err != nil {
		log.Fatal(err)
	}
	err = here.Tag(ctx, name, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: image.ID, Size: int64(len(config))})
	if err != nil {
		log.Fatal(err)
	}

	client := registry.New(registry.Options{})
	pushed, err := client.Push(ctx, here, name, registry.PushOptions{})
	if err != nil {
		log.Fatal(err)
	}
	came, manifest, err := client.Pull(ctx, there, name, registry.PullOptions{Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}})
	if err != nil {
		log.Fatal(err)
	}
	tags, err := client.Tags(ctx, strings.TrimSuffix(name, ":v1"))
	fmt.Println("the same manifest:", manifest.Digest == pushed.Digest)
	fmt.Println("the same image:", came.ID == image.ID)
	fmt.Println(tags, err)
	// Output:
	// the same manifest: true
	// the same image: true
	// [v1] <nil>
}

// open opens a store of its own.
func open(dir, name string) *layers.Store {
	s, err := layers.Open(filepath.Join(dir, name), layers.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return s
}
