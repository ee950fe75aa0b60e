package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/archive"
	"github.com/urfave/cli/v2"
)

func saveCommand() *cli.Command {
	return &cli.Command{
		Name:      "save",
		Usage:     "Save images to an archive that hod, docker, podman and skopeo load",
		ArgsUsage: "IMAGE…",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write this file; standard output if left out"},
			&cli.StringFlag{Name: "format", Value: "archive", Usage: "write this `FORM`: archive (a tar), or oci-dir (a folder, with --output)"},
			&cli.StringFlag{Name: "platform", Usage: "save only this one of an image of many platforms"},
		},
		Action: save,
	}
}

func save(c *cli.Context) error {
	if err := arguments(c, 1, -1); err != nil {
		return err
	}
	p, err := parsePlatform(c.String("platform"))
	if err != nil {
		return err
	}
	write := func(s *layers.Store, to *archive.Sink) error {
		for _, name := range c.Args().Slice() {
			images, err := s.Meant(name, p)
			if err == nil {
				err = completeImages(c, s, images...)
			}
			if err != nil {
				return err
			}
		}
		if err := s.Save(c.Context, to, c.Args().Slice(), p); err != nil {
			return err
		}
		return to.Close()
	}
	return lookAtStore(c, func(s *layers.Store) error {
		switch format, out := c.String("format"), c.String("output"); {
		case format == "oci-dir" && out != "":
			to, err := archive.NewFolder(out)
			if err != nil {
				return err
			}
			return write(s, to)
		case format == "oci-dir":
			return withHint(errors.New("--format oci-dir writes a folder"), "name it with --output")
		case format != "archive":
			return withHint(fmt.Errorf("format %q is unknown", format), "there are archive and oci-dir")
		default:
			return toFile(c, out, func(w io.Writer) error { return write(s, archive.NewTar(w)) })
		}
	})
}

// toFile calls write with standard output, or with a file that appears only
// when it is whole. A terminal gets no archive.
func toFile(c *cli.Context, name string, write func(io.Writer) error) (err error) {
	if name == "" || name == "-" {
		if f, ok := c.App.Writer.(*os.File); ok && isTerminal(f) {
			return withHint(errors.New("an archive is nothing for a terminal"), "name a file with --output")
		}
		b := bufio.NewWriterSize(c.App.Writer, 256<<10)
		if err := write(b); err != nil {
			return err
		}
		return b.Flush()
	}
	if st, err := os.Stat(name); err == nil && !st.Mode().IsRegular() { // a device or a pipe: as it is
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
		defer f.Close()
		return write(f)
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".hod-save-")
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write archive: there is no folder %q", filepath.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	defer os.Remove(f.Name()) // gone already when all went well
	b := bufio.NewWriterSize(f, 256<<10)
	if err = write(b); err == nil {
		err = b.Flush()
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	return err
}

func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && st.Mode()&os.ModeDevice != 0 && f.Name() != os.DevNull && hasTermios(f)
}
