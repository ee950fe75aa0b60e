package builder_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/layers"
)

// A recipe without RUN builds anywhere, and its image has the same ID on every machine.
func Example() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	app := filepath.Join(dir, "app")
	if err := os.Mkdir(app, 0o755); err != nil {
		log.Fatal(err)
	}
	for name, text := range map[string]string{
		"Dockerfile":   "FROM scratch\nCOPY --chmod=644 greeting.txt /\nENV LANG=C.UTF-8\n",
		"greeting.txt": "hello\n",
	} {
		if err := os.WriteFile(filepath.Join(app, name), []byte(text), 0o644); err != nil {
			log.Fatal(err)
		}
	}

	store, err := layers.Open(filepath.Join(dir, "store"), layers.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	amd64, err := builder.ParsePlatform("linux/amd64")
	if err != nil {
		log.Fatal(err)
	}
	o := builder.Options{Store: store, Context: app, Tags: []string{"greet"}}
	o.Platforms = append(o.Platforms, amd64)
	result, err := builder.Build(context.Background(), o)
	if err != nil {
		log.Fatal(err)
	}
	for _, image := range result.Images {
		fmt.Println(image.Names, len(image.Chain), "layer")
		fmt.Println(image.ID)
	}
	// Output:
	// [docker.io/library/greet:latest] 1 layer
	// sha256:b16b1065d96c21271ecda09a4ffb934fb01c97d68ea9f47bcc541e1b30f26bce
}
