package main

import (
	"fmt"

	"github.com/hodbuild/hod/layers"
	"github.com/urfave/cli/v2"
)

func fsckCommand() *cli.Command {
	return &cli.Command{
		Name:  "fsck",
		Usage: "Hash everything in the store again and follow every name",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "repair", Usage: "drop what is damaged and fetch again what came from a registry; the rest comes back when it is built"},
			plainHTTP(),
		},
		Action: fsck,
	}
}

func fsck(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	return lookAtStore(c, func(s *layers.Store) error {
		pulled := pulledImages(c, s)
		r, err := s.Check(c.Context, layers.CheckOptions{Repair: c.Bool("repair")})
		if err != nil {
			return err
		}
		open := 0
		for _, p := range r.Problems {
			end := "; " + p.Remedy
			if p.Repaired {
				end = " (dropped; " + p.Remedy + ")"
			} else {
				open++
			}
			if _, err := fmt.Fprintf(c.App.Writer, "%s: %s%s\n", p.Object, p.What, end); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(c.App.Writer, "%d blobs, %d layers, %d images, %d names, %s hashed, %s\n",
			r.Blobs, r.Layers, r.Images, r.References, humanSize(r.Bytes), problems(len(r.Problems))); err != nil {
			return err
		}
		if !c.Bool("repair") && open > 0 {
			return withHint(fmt.Errorf("the store has %s", problems(open)), "hod fsck --repair drops what is damaged")
		}
		if len(r.Problems) == 0 {
			return nil
		}
		fetched, err := fetchAgain(c, s, pulled)
		if err == nil && open > 0 && fetched > 0 { // perhaps all that was missing
			r, err = s.Check(c.Context, layers.CheckOptions{})
			open = len(r.Problems)
		}
		if err == nil && open > 0 {
			err = fmt.Errorf("the store has %s left", problems(open))
		}
		return err
	})
}

func problems(n int) string {
	if n == 1 {
		return "1 problem"
	}
	return fmt.Sprintf("%d problems", n)
}
