package main

import (
	"fmt"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/compress"
	"github.com/hodbuild/hod/registry"
	"github.com/urfave/cli/v2"
)

func pullCommand() *cli.Command {
	return &cli.Command{
		Name:      "pull",
		Usage:     "Fetch an image from a registry",
		ArgsUsage: "NAME[:TAG|@DIGEST]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "platform", Usage: "os/architecture[/variant], the host's by default"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only the name"},
			progressFlag(),
			plainHTTP(),
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			return withStore(c, func(s *layers.Store) error { return pull(c, s) })
		},
	}
}

func pull(c *cli.Context, s *layers.Store) error {
	n, err := layers.ParseName(c.Args().First())
	if err != nil {
		return err
	}
	p, err := parsePlatform(c.String("platform"))
	if err != nil {
		return err
	}
	t, err := newTransfer(c, "pulling "+n.Familiar())
	if err != nil {
		return err
	}
	_, target, err := t.client.Pull(c.Context, s, n.String(), registry.PullOptions{Platform: p})
	t.view.Close()
	if err != nil {
		return registryHint(err, n)
	}
	if !c.Bool("quiet") {
		fmt.Fprintf(c.App.ErrWriter, "Digest: %s\n", target.Digest)
	}
	_, err = fmt.Fprintln(c.App.Writer, n)
	return err
}

func pushCommand() *cli.Command {
	return &cli.Command{
		Name:      "push",
		Usage:     "Send an image to the registry of its name",
		ArgsUsage: "NAME[:TAG]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "compression", Usage: "of layers built here: gzip, zstd or uncompressed", Value: "gzip"},
			&cli.IntFlag{Name: "compression-level", Usage: "1 is fastest"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only the name"},
			progressFlag(),
			plainHTTP(),
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			return withStore(c, func(s *layers.Store) error { return push(c, s) })
		},
	}
}

func push(c *cli.Context, s *layers.Store) error {
	n, err := layers.ParseName(c.Args().First())
	if err != nil {
		return err
	}
	spec, err := compression(c.String("compression"), c.Int("compression-level"))
	if err != nil {
		return err
	}
	t, err := newTransfer(c, "pushing "+n.Familiar())
	if err != nil {
		return err
	}
	desc, err := t.client.Push(c.Context, s, n.String(), registry.PushOptions{Form: layers.ManifestForm{Compression: spec}})
	t.view.Close()
	if err != nil {
		return registryHint(err, n)
	}
	if c.Bool("quiet") {
		_, err = fmt.Fprintln(c.App.Writer, n)
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: digest: %s size: %d\n", n.Familiar(), desc.Digest, desc.Size)
	return err
}

// compression reads the names that BuildKit gives to compressions.
func compression(name string, level int) (compress.Spec, error) {
	a := compress.Algorithm(name)
	if name == "uncompressed" {
		a = compress.None
	}
	spec := compress.Spec{Algorithm: a, Level: level}
	return spec, spec.Validate()
}
