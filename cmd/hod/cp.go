//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

func cpCommand() *cli.Command {
	return &cli.Command{
		Name: "cp", Usage: "Copy files between a container and here", ArgsUsage: "CONTAINER:PATH PATH|-, or PATH|- CONTAINER:PATH", Action: cp,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "archive", Aliases: []string{"a"}, Usage: "keep users and groups"},
			&cli.BoolFlag{Name: "follow-link", Aliases: []string{"L"}, Usage: "copy what a link at the source points to"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "do not say what was copied"},
		},
	}
}

// place is one end of a copy: in a container, here, or a tar stream.
type place struct{ container, path string }

func placeOf(word string) place {
	name, at, found := strings.Cut(word, ":")
	if !found || strings.HasPrefix(word, ".") || strings.HasPrefix(word, "/") {
		return place{"", word}
	}
	if !strings.HasPrefix(at, "/") {
		at = "/" + at // as docker: a container's paths begin at its root
	}
	return place{name, at}
}

func cp(c *cli.Context) error {
	if err := arguments(c, 2, 2); err != nil {
		return err
	}
	from, to := placeOf(c.Args().Get(0)), placeOf(c.Args().Get(1))
	switch {
	case from.container != "" && to.container != "":
		return errors.New("copying between containers is not supported: copy to - and from it")
	case from.container == "" && to.container == "":
		return errors.New("must specify at least one container source: CONTAINER:PATH")
	}
	return withStore(c, func(s *layers.Store) error {
		cs, err := containersOf(s)
		if err != nil {
			return err
		}
		if err := enterForFiles(c, cs, from.container+to.container); err != nil {
			return err
		}
		inside, err := cs.Files(c.Context, s, from.container+to.container, true)
		if err != nil {
			return err
		}
		defer inside.Close()
		host, err := runner.Host()
		if err != nil {
			return err
		}
		defer host.Close()
		o := runner.CopyOptions{Owners: c.Bool("archive"), Follow: c.Bool("follow-link")}
		if from.container != "" {
			return copyOut(c, inside, host, from.path, to.path, o)
		}
		return copyIn(c, host, inside, from.path, to, o)
	})
}

func copyOut(c *cli.Context, inside, host *runner.Files, from, to string, o runner.CopyOptions) error {
	if to == "-" {
		if hasTermios(os.Stdout) {
			return errors.New("refusing to write a tar to a terminal")
		}
		return inside.ReadTar(from, streamName(inside, from, o), c.App.Writer, o)
	}
	at, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	if strings.HasSuffix(to, "/") {
		at += "/"
	}
	return copyFiles(c, inside, host, from, at, to, o)
}

// streamName is what a file is called in a stream: docker gives what a link leads to its own name there.
func streamName(inside *runner.Files, from string, o runner.CopyOptions) string {
	switch {
	case strings.HasSuffix(from, "/."):
		return "."
	case o.Follow:
		return baseName(through(inside, from))
	}
	return baseName(from)
}

func copyIn(c *cli.Context, host, inside *runner.Files, from string, to place, o runner.CopyOptions) error {
	if from == "-" {
		st, err := inside.Stat(to.path)
		if err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return fmt.Errorf("destination %q must be a folder to unpack a tar into", to.path)
		}
		o.Owners = true // an archive says whose its files are
		return inside.WriteTar(to.path, c.App.Reader, o)
	}
	at, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	for _, end := range []string{"/.", "/"} {
		if strings.HasSuffix(from, end) {
			at += end
			break
		}
	}
	return copyFiles(c, host, inside, at, to.path, to.container+":"+to.path, o)
}

// copyFiles copies as docker documents it: into a folder that is there, or to a new name.
func copyFiles(c *cli.Context, from, to *runner.Files, src, dst, shown string, o runner.CopyOptions) error {
	folder, name, err := target(from, to, src, dst, o)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	counter := &counted{w: w}
	g, _ := errgroup.WithContext(context.Background())
	g.Go(func() error {
		err := from.ReadTar(src, name, counter, o)
		w.CloseWithError(err)
		return err
	})
	err = to.WriteTar(folder, r, o)
	r.CloseWithError(err)
	if err := errors.Join(err, ignorePipe(g.Wait(), err)); err != nil {
		return err
	}
	if !c.Bool("quiet") {
		fmt.Fprintf(c.App.ErrWriter, "Successfully copied %s to %s\n", humanSize(counter.n), printable(shown))
	}
	return nil
}

// ignorePipe leaves the reader's error out that only repeats the writer's, or the other way round.
func ignorePipe(err, other error) error {
	if other != nil {
		return nil
	}
	return err
}

// target is the folder and the new name of what is copied.
func target(from, to *runner.Files, src, dst string, o runner.CopyOptions) (folder, name string, err error) {
	stat := from.Lstat
	if o.Follow || strings.HasSuffix(src, "/") || strings.HasSuffix(src, "/.") {
		stat = from.Stat
	}
	st, err := stat(src)
	if err != nil {
		return "", "", fmt.Errorf("copy %q: no such file or folder", src)
	}
	isFolder := st.Mode&unix.S_IFMT == unix.S_IFDIR
	dst = through(to, dst)
	there, err := to.Stat(dst)
	switch {
	case err == nil && there.Mode&unix.S_IFMT == unix.S_IFDIR && strings.HasSuffix(src, "/."):
		return dst, ".", nil
	case err == nil && there.Mode&unix.S_IFMT == unix.S_IFDIR:
		return dst, baseName(src), nil
	case err == nil && there.Mode&unix.S_IFMT != unix.S_IFREG:
		return "", "", fmt.Errorf("copy to %q: it is neither a folder nor a regular file", dst)
	case err == nil && (isFolder || strings.HasSuffix(dst, "/")):
		return "", "", fmt.Errorf("copy to %q: it is no folder", dst)
	case err != nil && !isFolder && strings.HasSuffix(dst, "/"):
		return "", "", fmt.Errorf("copy to %q: there is no such folder", dst)
	}
	parent, base := path.Split(strings.TrimRight(dst, "/"))
	if _, err := to.Stat(parent); err != nil {
		return "", "", fmt.Errorf("copy to %q: there is no folder %q", dst, parent)
	}
	return parent, base, nil
}

// through is a path without its links: where what is written there goes, also when that is not there yet.
func through(in *runner.Files, p string) string {
	at, rest := "", strings.Split(p, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = at[:max(0, strings.LastIndexByte(at, '/'))]
			continue
		}
		target, err := in.Readlink(at + "/" + name)
		if err != nil || links == 40 {
			at += "/" + name
			continue
		}
		links++
		rest = append(strings.Split(target, "/"), rest...)
		if path.IsAbs(target) {
			at = ""
		}
	}
	if strings.HasSuffix(p, "/") {
		at += "/"
	}
	return at
}

func baseName(p string) string {
	if b := path.Base(path.Clean(p)); b != "/" {
		return b
	}
	return "."
}

type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
