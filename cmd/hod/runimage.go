package main

import (
	"errors"

	"github.com/hodbuild/hod/layers"
	"github.com/urfave/cli/v2"
)

// imageToRun finds the image that a word of run or create means, and what the
// container says it is of.
func imageToRun(c *cli.Context, s *layers.Store, word string) (*layers.Image, string, error) {
	p, err := parsePlatform(c.String("platform"))
	if err != nil {
		return nil, "", err
	}
	switch c.String("pull") {
	case "", "missing", "never":
	default:
		return nil, "", withHint(errors.New("--pull "+c.String("pull")+": it is missing or never"), "hod pull NAME fetches an image anew")
	}
	img, err := s.Resolve(word, p)
	return img, word, err
}
