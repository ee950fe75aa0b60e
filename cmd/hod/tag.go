package main

import (
	"errors"

	"github.com/hodbuild/hod/layers"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
)

func tagCommand() *cli.Command {
	return &cli.Command{
		Name:      "tag",
		Usage:     "Give an image another name",
		ArgsUsage: "IMAGE NAME",
		Action: func(c *cli.Context) error {
			if err := arguments(c, 2, 2); err != nil {
				return err
			}
			return withStore(c, func(s *layers.Store) error {
				target, err := targetOf(s, c.Args().First())
				if err != nil {
					return err
				}
				return s.Tag(c.Context, c.Args().Get(1), target)
			})
		},
	}
}

// targetOf is what a name means (an index with all its platforms), or what an
// ID means.
func targetOf(s *layers.Store, name string) (ocispec.Descriptor, error) {
	d, err := s.ResolveDescriptor(name)
	if err == nil || !errors.Is(err, layers.ErrNotFound) && name == "" {
		return d, err
	}
	img, err := s.Resolve(name, nil)
	if err != nil {
		return d, err
	}
	return descriptorOf(img), nil
}

// descriptorOf is the manifest of an image, or its config if it has none yet.
func descriptorOf(img *layers.Image) ocispec.Descriptor {
	if img.Manifest != nil {
		return *img.Manifest
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: img.ID, Size: int64(len(img.Config))}
}
