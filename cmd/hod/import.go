package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
)

func importCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "Make an image of a file system's tar",
		ArgsUsage: "FILE|- [NAME]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "platform", Usage: "os/architecture[/variant] of the image"},
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "comment in the image's history"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 2); err != nil {
				return err
			}
			return withStore(c, func(s *layers.Store) error {
				img, err := importFile(c, s)
				if err != nil {
					return err
				}
				if name := c.Args().Get(1); name != "" {
					if err := s.Tag(c.Context, name, descriptorOf(img)); err != nil {
						return err
					}
				}
				_, err = fmt.Fprintln(c.App.Writer, img.ID)
				return err
			})
		},
	}
}

// importFile takes the tar, plain or compressed, as the only layer of an image.
func importFile(c *cli.Context, s *layers.Store) (*layers.Image, error) {
	platform := layers.HostPlatform()
	if v := c.String("platform"); v != "" {
		var err error
		if platform, err = builder.ParsePlatform(v); err != nil {
			return nil, err
		}
	}
	if name := c.Args().Get(1); name != "" {
		if _, err := layers.ParseName(name); err != nil {
			return nil, err
		}
	}
	var r io.Reader = c.App.Reader
	if file := c.Args().First(); file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	info, err := importLayer(c.Context, s, r)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", c.Args().First(), err)
	}
	created := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	image := ocispec.Image{Created: &created, Platform: platform,
		RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{info.DiffID}},
		History: []ocispec.History{{Created: &created, Comment: c.String("message")}}}
	config, err := json.Marshal(image)
	if err != nil {
		return nil, err
	}
	return s.PutImage(c.Context, config, layers.Chain{info.DiffID}, layers.PutImageOptions{Built: time.Now(), Source: c.Args().First()})
}

// importLayer keeps the bytes as they are and unpacks them.
func importLayer(ctx context.Context, s *layers.Store, r io.Reader) (info layers.LayerInfo, err error) {
	head := make([]byte, 6)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return info, err
	}
	media := ocispec.MediaTypeImageLayer
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		media = ocispec.MediaTypeImageLayerGzip
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		media = ocispec.MediaTypeImageLayerZstd
	case bytes.HasPrefix(head, []byte("BZh")), bytes.HasPrefix(head, []byte("\xfd7zXZ")):
		return info, errors.New("only plain, gzip and zstd archives can be layers")
	}
	w, err := s.CreateBlob(layers.BlobOptions{})
	if err != nil {
		return info, err
	}
	defer w.Close()
	if _, err := io.Copy(w, io.MultiReader(bytes.NewReader(head[:n]), r)); err != nil {
		return info, err
	}
	desc, err := w.Commit(ctx)
	if err != nil {
		return info, err
	}
	desc.MediaType = media
	blob, err := s.OpenBlob(desc.Digest)
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	return s.IngestBlob(ctx, desc, blob, "", layers.IngestOptions{})
}
