package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/archive"
	"github.com/urfave/cli/v2"
)

func loadCommand() *cli.Command {
	return &cli.Command{
		Name:  "load",
		Usage: "Load images from an archive or an OCI layout",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "input", Aliases: []string{"i"}, Usage: "file or folder; standard input if left out"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only IDs of what has no name, and names"},
		},
		Action: load,
	}
}

func load(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	src, err := openArchive(c.String("input"), c.App.Reader)
	if errors.Is(err, archive.ErrFormat) {
		return withHint(err, "hod load takes what docker, podman, skopeo or hod save; hod import takes a tar of files")
	}
	if err != nil {
		return err
	}
	defer src.Close()
	return withStore(c, func(s *layers.Store) error {
		list, err := s.Load(c.Context, src)
		for _, l := range list {
			if perr := printLoaded(c, l); perr != nil {
				return perr
			}
		}
		return err
	})
}

func openArchive(file string, stdin io.Reader) (*archive.Source, error) {
	if file != "" && file != "-" {
		return archive.Open(file)
	}
	return archive.Read(stdin, "standard input")
}

func printLoaded(c *cli.Context, l layers.Loaded) error {
	said := func(what, name string) error {
		if c.Bool("quiet") {
			what = ""
		}
		_, err := fmt.Fprintf(c.App.Writer, "%s%s\n", what, name)
		return err
	}
	if len(l.Names) == 0 {
		return said("Loaded image ID: ", l.Target.Digest.String())
	}
	for _, full := range l.Names {
		n, err := layers.ParseName(full)
		if err != nil {
			return err
		}
		if err := said("Loaded image: ", n.Familiar()); err != nil {
			return err
		}
	}
	return nil
}
