package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/hodbuild/hod/layers"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
)

func historyCommand() *cli.Command {
	return &cli.Command{
		Name:      "history",
		Usage:     "Show what made each layer of an image",
		ArgsUsage: "IMAGE",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "print with a Go template, or json"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only IDs"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "print long values whole"},
			&cli.BoolFlag{Name: "human", Aliases: []string{"H"}, Value: true, Usage: "print sizes and times for people"},
			&cli.StringFlag{Name: "platform", Usage: "choose from an image of many platforms"},
		},
		Action: history,
	}
}

func history(c *cli.Context) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	p, err := parsePlatform(c.String("platform"))
	if err != nil {
		return err
	}
	return lookAtStore(c, func(s *layers.Store) error {
		img, err := s.Resolve(c.Args().First(), p)
		if err != nil {
			return err
		}
		rows, err := historyRows(s, img, c.Bool("no-trunc"), c.Bool("human"))
		if err != nil {
			return err
		}
		format := c.String("format")
		if c.Bool("quiet") && format == "" {
			format = "{{.ID}}"
		}
		return printRows(c.App.Writer, format, "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
			row{"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT"}, rows)
	})
}

// historyRows lists the newest step first, each with the size of its layer.
func historyRows(s *layers.Store, img *layers.Image, whole, human bool) ([]row, error) {
	var config ocispec.Image
	if err := json.Unmarshal(img.Config, &config); err != nil {
		return nil, fmt.Errorf("read config of %s: %w", img.ID, err)
	}
	chain, rows := img.Chain, make([]row, 0, len(config.History))
	for _, h := range config.History {
		var size int64
		if !h.EmptyLayer && len(chain) > 0 {
			var err error
			if size, err = s.LayerSize(img, chain[0]); err != nil {
				return nil, err
			}
			chain = chain[1:]
		}
		rows = append(rows, historyRow(h, size, whole, human))
	}
	slices.Reverse(rows)
	if len(rows) > 0 {
		rows[0]["ID"] = imageID(img, whole)
	}
	return rows, nil
}

func historyRow(h ocispec.History, size int64, whole, human bool) row {
	r := row{"ID": "<missing>", "CreatedBy": h.CreatedBy, "Comment": h.Comment, "Size": humanSize(size), "CreatedAt": "", "CreatedSince": "N/A"}
	if text := []rune(h.CreatedBy); !whole && len(text) > 45 {
		r["CreatedBy"] = string(text[:44]) + "…"
	}
	if h.Created != nil {
		r["CreatedAt"] = h.Created.Format(time.RFC3339)
		r["CreatedSince"] = humanAge(time.Now(), *h.Created)
	}
	if !human {
		r["Size"], r["CreatedSince"] = fmt.Sprint(size), r["CreatedAt"]
	}
	return r
}

// imageID is an ID as tables show it: twelve digits, or all with --no-trunc.
func imageID(img *layers.Image, whole bool) string {
	if whole {
		return img.ID.String()
	}
	return img.ID.Encoded()[:12]
}
