package main

import (
	"fmt"
	"strconv"

	"github.com/hodbuild/hod/layers"
	"github.com/urfave/cli/v2"
)

func dfCommand() *cli.Command {
	return &cli.Command{
		Name:  "df",
		Usage: "Show what the store takes on disk, as du counts it",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "print with a Go template, or table, or json"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "each image with what it shares with others and what would go with it, each container and volume; --format is of the images"},
		},
		Action: df,
	}
}

func df(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	return lookAtStore(c, func(s *layers.Store) error {
		u, err := s.Usage(c.Context)
		if err != nil {
			return err
		}
		containers, err := countUsers(c.Context, s, &u)
		if err != nil {
			return err
		}
		if c.Bool("verbose") {
			if err := dfImages(c, s); err != nil || c.String("format") != "" {
				return err // a format is one of images
			}
			return dfContainers(c, containers, u)
		}
		rows := []row{
			usageRow("Images", u.Images), usageRow("Containers", u.Containers), usageRow("Local Volumes", u.Volumes),
			usageRow("Build Cache", u.Cache), usageRow("Other", u.Other),
			usageRow("Total", layers.KindUsage{Bytes: u.Total, Reclaimable: u.Images.Reclaimable + u.Containers.Reclaimable + u.Volumes.Reclaimable + u.Cache.Reclaimable + u.Other.Reclaimable}),
		}
		return printRows(c.App.Writer, c.String("format"), "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}", row{
			"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE", "Bytes": "BYTES",
		}, rows)
	})
}

// dfImages begins the verbose form. Sizes are those of the layers' files, as hod images has them.
func dfImages(c *cli.Context, s *layers.Store) error {
	list, err := listImages(c.Context, s)
	if err != nil {
		return err
	}
	rows := make([]row, len(list))
	for i, l := range list {
		rows[i] = l.row(false)
	}
	return printRows(c.App.Writer, c.String("format"), "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}", imageHeads, rows)
}

func usageRow(kind string, k layers.KindUsage) row {
	share := ""
	if k.Bytes > 0 {
		share = fmt.Sprintf(" (%d%%)", 100*k.Reclaimable/k.Bytes)
	}
	return row{
		"Type": kind, "TotalCount": strconv.Itoa(k.Count), "Active": strconv.Itoa(k.Active), "Size": humanSize(k.Bytes),
		"Reclaimable": humanSize(k.Reclaimable) + share, "Bytes": strconv.FormatInt(k.Bytes, 10),
	}
}
