package main

import (
	"fmt"

	"github.com/hodbuild/hod/layers"
	"github.com/urfave/cli/v2"
)

func whyCommand() *cli.Command {
	return &cli.Command{
		Name:      "why",
		Usage:     "Explain what keeps an image, a layer or a blob",
		ArgsUsage: "NAME|DIGEST",
		Action:    why,
	}
}

func why(c *cli.Context) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	return lookAtStore(c, func(s *layers.Store) error {
		lines, err := s.Why(c.Context, c.Args().First())
		if err != nil {
			return err
		}
		if len(lines) == 0 {
			lines = []string{"nothing keeps it: the next hod prune removes it"}
		}
		for _, l := range lines {
			if _, err := fmt.Fprintln(c.App.Writer, l); err != nil {
				return err
			}
		}
		return nil
	})
}
