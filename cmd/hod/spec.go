//go:build linux

package main

import (
	"fmt"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

func specCommand() *cli.Command {
	return &cli.Command{
		Name: "spec", Usage: "Write an OCI runtime bundle of an image, for crun, runc and others", ArgsUsage: "IMAGE [COMMAND [ARGUMENT…]]",
		Flags: append(containerFlags(),
			&cli.StringFlag{Name: "bundle", Value: "bundle", Usage: "the folder to make"},
		),
		Action: func(c *cli.Context) error {
			return withStore(c, func(s *layers.Store) error {
				img, o, err := plannedContainer(c, s)
				if err != nil {
					return err
				}
				return runner.WriteBundle(c.Context, s, img, o, c.String("bundle"))
			})
		},
	}
}

// plannedContainer is what the flags ask for, when no container is made of it.
func plannedContainer(c *cli.Context, s *layers.Store) (*layers.Image, runner.ContainerOptions, error) {
	if err := arguments(c, 1, -1); err != nil {
		return nil, runner.ContainerOptions{}, err
	}
	o, err := containerOptions(c)
	if err != nil {
		return nil, o, err
	}
	img, _, err := imageToRun(c, s, c.Args().First())
	return img, o, err
}

// showSandbox is hod run --show-sandbox.
func showSandbox(c *cli.Context, s *layers.Store) error {
	img, o, err := plannedContainer(c, s)
	if err != nil {
		return withCode(125, err)
	}
	text, err := runner.Sandbox(c.Context, s, img, o)
	if err != nil {
		return withCode(125, err)
	}
	_, err = fmt.Fprint(c.App.Writer, text)
	return err
}
