package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
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
			&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"}, Usage: "list only these: reference=PATTERN, dangling=BOOL"},
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
	keep, err := imageFilter(c.StringSlice("filter"), c.Args().First())
	if err != nil {
		return err
	}
	return withStore(c, func(s *layers.Store) error {
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

func printImages(c *cli.Context, rows []row) error {
	format, usual := c.String("format"), "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
	switch {
	case c.Bool("quiet") && format == "":
		format = "{{.ID}}"
		rows = slices.CompactFunc(rows, func(a, b row) bool { return a["ID"] == b["ID"] })
	case c.Bool("digests"):
		usual = "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
	}
	return printRows(c.App.Writer, format, usual, row{
		"Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID",
		"CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "Size": "SIZE",
	}, rows)
}

// listed is one line of hod images: an image under one of its names, or none.
type listed struct {
	name  *layers.Name // nil: it has no name
	image *layers.Image
	size  int64
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
	for i := range list {
		if list[i].size, err = imageSize(s, list[i].image); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(list, func(a, b listed) int {
		return cmp.Or(b.image.Built.Compare(a.image.Built), cmp.Compare(a.image.ID, b.image.ID))
	})
	return list, nil
}

// imageSize is the sum of an image's layers as tars.
func imageSize(s *layers.Store, img *layers.Image) (sum int64, err error) {
	for _, d := range img.Chain {
		info, err := s.Layer(d)
		if err != nil {
			return 0, fmt.Errorf("image %s: %w", img.ID, err)
		}
		sum += info.Size
	}
	return sum, nil
}

func (l listed) row(whole bool) row {
	r := row{
		"Repository": "<none>", "Tag": "<none>", "Digest": "<none>", "ID": imageID(l.image, whole),
		"CreatedSince": humanAge(time.Now(), l.image.Built), "CreatedAt": l.image.Built.Format(time.RFC3339),
		"Size": humanSize(l.size),
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

// imageFilter makes one test of the filters and of the name behind the verb.
func imageFilter(filters []string, pattern string) (func(listed) bool, error) {
	var tests []func(listed) bool
	if pattern != "" {
		filters = append(filters, "reference="+pattern)
	}
	for _, f := range filters {
		key, value, _ := strings.Cut(f, "=")
		switch {
		case key == "reference" && value != "":
			if _, err := path.Match(value, ""); err != nil {
				return nil, fmt.Errorf("filter %q: %w", f, err)
			}
			tests = append(tests, func(l listed) bool { return named(l, value) })
		case f == "dangling=true", f == "dangling=1":
			tests = append(tests, func(l listed) bool { return l.name == nil })
		case f == "dangling=false", f == "dangling=0":
			tests = append(tests, func(l listed) bool { return l.name != nil })
		default:
			return nil, withHint(fmt.Errorf("filter %q is unknown", f), "there are reference=PATTERN and dangling=true|false")
		}
	}
	return func(l listed) bool {
		return !slices.ContainsFunc(tests, func(t func(listed) bool) bool { return !t(l) })
	}, nil
}

// named tells whether a pattern fits an image's name, with or without its tag.
func named(l listed, pattern string) bool {
	if l.name == nil {
		return false
	}
	for _, n := range []string{l.name.Familiar(), l.name.FamiliarRepository(), l.name.String()} {
		if ok, err := path.Match(pattern, n); ok && err == nil {
			return true
		}
	}
	return false
}
