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
			&cli.StringFlag{Name: "platform", Usage: "os/architecture[/variant], the host's by default; several with commas, or all"},
			&cli.BoolFlag{Name: "all-tags", Aliases: []string{"a"}, Usage: "every tag of the repository"},
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
	if !c.Bool("all-tags") {
		n, err := layers.ParseName(c.Args().First())
		if err != nil {
			return err
		}
		return pullOne(c, s, n)
	}
	n, err := repository(c.Args().First())
	if err != nil {
		return err
	}
	tags, err := newClient(c).Tags(c.Context, n.String())
	if err != nil {
		return registryHint(err, n)
	}
	for _, n.Tag = range tags {
		if err := pullOne(c, s, n); err != nil {
			return err
		}
	}
	return nil
}

// pullOne pulls a name and says what Docker says.
func pullOne(c *cli.Context, s *layers.Store, n layers.Name) error {
	platforms, err := parsePlatforms(c.String("platform"))
	if err != nil {
		return err
	}
	t, err := newTransfer(c, "pulling "+n.Familiar())
	if err != nil {
		return err
	}
	before, berr := s.ResolveDescriptor(n.String())
	target := before
	if all := c.String("platform") == "all"; all || len(platforms) > 1 {
		target, err = t.client.PullPlatforms(c.Context, s, n.String(), platforms)
	} else {
		o := registry.PullOptions{}
		if len(platforms) == 1 {
			o.Platform = &platforms[0]
		}
		_, target, err = t.client.Pull(c.Context, s, n.String(), o)
	}
	t.view.Close()
	if err != nil {
		return registryHint(err, n)
	}
	if !c.Bool("quiet") {
		status := "Downloaded newer image for "
		if berr == nil && before.Digest == target.Digest {
			status = "Image is up to date for "
		}
		fmt.Fprintf(c.App.Writer, "Digest: %s\nStatus: %s%s\n", target.Digest, status, n.Familiar())
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
			&cli.StringFlag{Name: "platform", Usage: "only this one of an image of many platforms"},
			&cli.BoolFlag{Name: "all-tags", Aliases: []string{"a"}, Usage: "every tag that the repository has here"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "ask for every layer, for a registry that has the image and lost some of it"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only the name"},
			progressFlag(),
			plainHTTP(),
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			return lookAtStore(c, func(s *layers.Store) error { return push(c, s) })
		},
	}
}

func push(c *cli.Context, s *layers.Store) error {
	if !c.Bool("all-tags") {
		n, err := layers.ParseName(c.Args().First())
		if err != nil {
			return err
		}
		return pushOne(c, s, n)
	}
	n, err := repository(c.Args().First())
	if err != nil {
		return err
	}
	refs, err := s.References(c.Context)
	if err != nil {
		return err
	}
	found := false
	for _, r := range refs {
		m, err := layers.ParseName(r.Name)
		if err != nil || m.Registry != n.Registry || m.Repository != n.Repository || m.Tag == "" {
			continue
		}
		found = true
		if err := pushOne(c, s, m); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("push: no tag of %s: %w", n.FamiliarRepository(), layers.ErrNotFound)
	}
	return nil
}

func pushOne(c *cli.Context, s *layers.Store, n layers.Name) error {
	spec, err := compression(c.String("compression"), c.Int("compression-level"))
	if err != nil {
		return err
	}
	p, err := parsePlatform(c.String("platform"))
	if err != nil {
		return err
	}
	t, err := newTransfer(c, "pushing "+n.Familiar())
	if err != nil {
		return err
	}
	o := registry.PushOptions{Form: layers.ManifestForm{Compression: spec}, Platform: p, Recheck: c.Bool("force")}
	desc, err := t.client.Push(c.Context, s, n.String(), o)
	t.view.Close()
	if err != nil {
		return pushHint(err, n)
	}
	if c.Bool("quiet") {
		_, err = fmt.Fprintln(c.App.Writer, n)
		return err
	}
	tag := n.Tag
	if tag == "" {
		tag = n.Familiar()
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: digest: %s size: %d\n", tag, desc.Digest, desc.Size)
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
