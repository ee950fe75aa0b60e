package main

import (
	"fmt"

	"github.com/hodbuild/hod/layers"
	"github.com/urfave/cli/v2"
)

// fetchAgain brings back what a repair dropped of images that came from a registry, by the digest that they had there:
// names keep their meaning. It tells how many came back and names those that did not.
func fetchAgain(c *cli.Context, s *layers.Store, pulled []*layers.Image) (fetched int, err error) {
	client := newClient(c)
	for _, img := range pulled {
		if s.Whole(img) {
			continue
		}
		n, err := layers.ParseName(img.Source)
		if err != nil {
			continue // from a build or an archive
		}
		n.Digest = img.Manifest.Digest
		remote, err := client.Resolve(c.Context, n.String(), &img.Platform)
		if err == nil {
			_, err = client.Fetch(c.Context, s, remote)
		}
		if err != nil {
			if _, err := fmt.Fprintf(c.App.Writer, "%s: not fetched again: %v\n", img.Source, err); err != nil {
				return fetched, err
			}
			continue
		}
		if _, err := fmt.Fprintf(c.App.Writer, "%s: fetched again\n", img.Source); err != nil {
			return fetched, err
		}
		fetched++
	}
	return fetched, nil
}

// pulledImages lists the images that a registry can give again. One that cannot be read hides the others: it goes first.
func pulledImages(c *cli.Context, s *layers.Store) []*layers.Image {
	all, err := s.Images(c.Context)
	if err != nil {
		return nil
	}
	var pulled []*layers.Image
	for _, img := range all {
		if img.Manifest != nil && img.Source != "" && img.Source != "load" {
			pulled = append(pulled, img)
		}
	}
	return pulled
}
