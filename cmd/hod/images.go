package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"
)

func imagesCommand() *cli.Command {
	return &cli.Command{
		Name:      "images",
		Usage:     "List images",
		ArgsUsage: "[NAME]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "print with a Go template, or table, or json"},
			&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"}, Usage: "list only these: reference=PATTERN, dangling=BOOL, label=KEY[=VALUE], before=IMAGE, since=IMAGE, until=TIME"},
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "accepted as Docker has it: hod hides no image"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only IDs"},
			&cli.BoolFlag{Name: "digests", Usage: "show the digests of manifests"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "print long values whole"},
		},
		Action: images,
	}
}

func images(c *cli.Context) error {
	if err := arguments(c, 0, 1); err != nil {
		return err
	}
	return lookAtStore(c, func(s *layers.Store) error {
		keep, err := imageFilter(s, c.StringSlice("filter"), c.Args().First())
		if err != nil {
			return err
		}
		found, err := listImages(c.Context, s)
		if err != nil {
			return err
		}
		rows := []row{}
		for _, i := range slices.DeleteFunc(found, func(i listed) bool { return !keep(i) }) {
			rows = append(rows, i.row(c.Bool("no-trunc")))
		}
		return printImages(c, rows)
	})
}

// imageHeads are the columns that tables of images can have.
var imageHeads = row{
	"Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID",
	"CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "Size": "SIZE", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "Containers": "CONTAINERS",
}

func printImages(c *cli.Context, rows []row) error {
	format, usual := c.String("format"), "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
	switch {
	case c.Bool("quiet") && format == "":
		format = "{{.ID}}"
		rows = slices.CompactFunc(rows, func(a, b row) bool { return a["ID"] == b["ID"] })
	case c.Bool("digests"):
		usual = "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
	}
	return printRows(c.App.Writer, format, usual, imageHeads, rows)
}

// listed is one line of hod images: an image under one of its names, or none.
type listed struct {
	name  *layers.Name // nil: it has no name
	image *layers.Image
	size  int64
	// shared is what other images have too; the rest goes with this one.
	shared int64
}

// listImages gives every name with the image that it means on this machine,
// and the images that have no name; the newest first.
func listImages(ctx context.Context, s *layers.Store) ([]listed, error) {
	refs, err := s.References(ctx)
	if err != nil {
		return nil, err
	}
	var list []listed
	named := map[digest.Digest]bool{}
	for _, r := range refs {
		img, err := s.Resolve(r.Name, nil)
		if errors.Is(err, layers.ErrNotFound) { // of another platform only, or removed meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		n, err := layers.ParseName(r.Name)
		if err != nil {
			return nil, err
		}
		named[img.ID] = true
		list = append(list, listed{name: &n, image: img})
	}
	all, err := s.Images(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if !named[i.ID] {
			list = append(list, listed{image: i})
		}
	}
	if err := measure(s, list); err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b listed) int {
		return cmp.Or(b.image.Built.Compare(a.image.Built), cmp.Compare(a.image.ID, b.image.ID))
	})
	return list, nil
}

// measure gives each image its size, and what of it other images have too.
func measure(s *layers.Store, list []listed) error {
	seen, users, sizes := map[digest.Digest]bool{}, map[digest.Digest]int{}, map[digest.Digest]int64{}
	for _, l := range list {
		if seen[l.image.ID] {
			continue
		}
		seen[l.image.ID] = true
		for d := range digestSet(l.image.Chain) {
			users[d]++
			n, err := s.LayerSize(l.image, d)
			if err != nil {
				return fmt.Errorf("image %s: %w", l.image.ID, err)
			}
			sizes[d] = n
		}
	}
	for i := range list {
		for _, d := range list[i].image.Chain {
			list[i].size += sizes[d]
			if users[d] > 1 {
				list[i].shared += sizes[d]
			}
		}
	}
	return nil
}

func digestSet(list []digest.Digest) map[digest.Digest]bool {
	set := map[digest.Digest]bool{}
	for _, d := range list {
		set[d] = true
	}
	return set
}

// imageSize is the sum of an image's layers as tars.
func imageSize(s *layers.Store, img *layers.Image) (sum int64, err error) {
	for _, d := range img.Chain {
		n, err := s.LayerSize(img, d)
		if err != nil {
			return 0, fmt.Errorf("image %s: %w", img.ID, err)
		}
		sum += n
	}
	return sum, nil
}

func (l listed) row(whole bool) row {
	r := row{
		"Repository": "<none>", "Tag": "<none>", "Digest": "<none>", "ID": imageID(l.image, whole),
		"CreatedSince": humanAge(time.Now(), l.image.Built), "CreatedAt": l.image.Built.Format("2006-01-02 15:04:05 -0700 MST"),
		"Size": humanSize(l.size), "SharedSize": humanSize(l.shared), "UniqueSize": humanSize(l.size - l.shared), "Containers": "N/A",
	}
	if l.image.Manifest != nil {
		r["Digest"] = l.image.Manifest.Digest.String()
	}
	if l.name != nil {
		r["Repository"] = l.name.FamiliarRepository()
		if l.name.Tag != "" {
			r["Tag"] = l.name.Tag
		}
	}
	return r
}
