package main

import (
	"context"
	"io"
	"strings"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/layers"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
)

// pinned is a source of images in which every name means one image of the store.
type pinned struct{ image *layers.Image }

// Resolve gives the one image.
func (p pinned) Resolve(_ context.Context, name string, _ ocispec.Platform, _ bool) (*builder.BaseImage, error) {
	return &builder.BaseImage{Name: name, Digest: p.image.ID, Config: p.image.Config, Chain: p.image.Chain}, nil
}

// Fetch has nothing to do.
func (pinned) Fetch(context.Context, *builder.BaseImage) error { return nil }

func (pinned) Origins(*builder.BaseImage) []layers.Origin { return nil }

func exportCommand() *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "Write the files of a container, or of an image, as a tar",
		ArgsUsage: "CONTAINER|IMAGE",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write this file; standard output if left out"},
			&cli.StringFlag{Name: "platform", Usage: "choose from an image of many platforms"},
		},
		Action: export,
	}
}

func export(c *cli.Context) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	return lookAtStore(c, func(s *layers.Store) error {
		cs, err := containersOf(s)
		if err != nil {
			return err
		}
		// A container, as docker has it; else an image.
		if name := c.Args().First(); cs.Exists(name) {
			return exportContainer(c, s, cs, name)
		}
		if err := enterForOwners(c, nil); err != nil {
			return err
		}
		return exportImage(c, s)
	})
}

// exportImage exports an image by its name.
func exportImage(c *cli.Context, s *layers.Store) error {
	p, err := parsePlatform(c.String("platform"))
	if err != nil {
		return err
	}
	img, err := s.Resolve(c.Args().First(), p)
	if err != nil {
		return err
	}
	if err := completeImages(c, s, img); err != nil {
		return err
	}
	return exportTree(c, s, img)
}

// exportTree writes the files of an image as a tar: a build of nothing but FROM.
func exportTree(c *cli.Context, s *layers.Store, img *layers.Image) error {
	return toFile(c, c.String("output"), func(w io.Writer) error {
		_, err := builder.Build(c.Context, builder.Options{
			Store: s, Images: pinned{img}, Context: "-", Stdin: strings.NewReader("FROM base\n"),
			Platforms: []ocispec.Platform{img.Platform}, Outputs: []builder.Output{{Type: "tar", Dest: "-", Stdout: w}},
		})
		return err
	})
}
