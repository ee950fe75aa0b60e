package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hodbuild/hod/layers"
	"github.com/urfave/cli/v2"
)

func rmiCommand() *cli.Command {
	return &cli.Command{
		Name:      "rmi",
		Usage:     "Remove images",
		ArgsUsage: "IMAGE…",
		Description: `A name is removed; with its last name the image goes too. An ID removes the
image and its one name; with several names it needs --force. What an image
took on disk is freed, but for what other images, containers or the build cache
need of it.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "remove all names of an ID; do not mind what is not there"},
			&cli.BoolFlag{Name: "no-prune", Hidden: true, Usage: "images have no parents that would go too"},
		},
		Action: rmi,
	}
}

func rmi(c *cli.Context) error {
	if err := arguments(c, 1, -1); err != nil {
		return err
	}
	err := lookAtStore(c, func(s *layers.Store) error {
		var failed error
		for _, name := range c.Args().Slice() {
			err := removeImage(c.Context, c.App.Writer, s, name, c.Bool("force"))
			if c.Bool("force") && errors.Is(err, layers.ErrNotFound) {
				continue
			}
			failed = errors.Join(failed, err)
		}
		return failed
	})
	// Only now nothing of it is held by ourselves.
	return errors.Join(err, withStore(c, func(s *layers.Store) error {
		_, err := s.Collect(c.Context, layers.CollectOptions{})
		return err
	}))
}

// removeImage removes one name, or an ID with its names.
func removeImage(ctx context.Context, w io.Writer, s *layers.Store, name string, force bool) error {
	img, err := s.Resolve(name, nil)
	if err != nil && !errors.Is(err, layers.ErrNotFound) {
		return err
	}
	_, isName := s.ResolveDescriptor(name)
	if img == nil { // a name for another platform, or nothing
		if isName != nil {
			return err
		}
		return untag(ctx, w, s, name)
	}
	names, err := namesOf(ctx, s, img)
	if err != nil {
		return err
	}
	if isName == nil && len(names) > 1 {
		return untag(ctx, w, s, name)
	}
	if len(names) > 1 && !force {
		return withHint(fmt.Errorf("image %s has %d names", name, len(names)), "hod rmi --force removes them all, hod rmi NAME one of them")
	}
	if err := unused(ctx, s, img); err != nil {
		return err
	}
	for _, n := range names {
		if err := untag(ctx, w, s, n); err != nil {
			return err
		}
	}
	if err := s.RemoveImage(ctx, img.ID); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "Deleted: %s\n", img.ID)
	return err
}

// unused tells which container is of an image, if one is. Even --force leaves
// a container the image that it may start from again.
func unused(ctx context.Context, s *layers.Store, img *layers.Image) error {
	cs, err := containersOf(s)
	if err != nil {
		return err
	}
	list, err := cs.List(ctx)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Uses(img.ID.String()) {
			return withHint(fmt.Errorf("container %s is of image %s", e.Name, img.ID), "hod rm "+e.Name+" first")
		}
	}
	return nil
}

// namesOf lists the names that mean an image on this machine.
func namesOf(ctx context.Context, s *layers.Store, img *layers.Image) ([]string, error) {
	refs, err := s.References(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range refs {
		other, err := s.Resolve(r.Name, nil)
		if err == nil && other.ID == img.ID {
			names = append(names, r.Name)
		} else if err != nil && !errors.Is(err, layers.ErrNotFound) {
			return nil, err
		}
	}
	return names, nil
}

func untag(ctx context.Context, w io.Writer, s *layers.Store, name string) error {
	if err := s.Untag(ctx, name); err != nil {
		return err
	}
	if n, err := layers.ParseName(name); err == nil {
		name = n.Familiar()
	}
	_, err := fmt.Fprintf(w, "Untagged: %s\n", name)
	return err
}
