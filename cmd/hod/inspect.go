package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "Show all that is known of containers, images and volumes",
		ArgsUsage: "NAME…",
		Flags: []cli.Flag{
			formatFlag(),
			&cli.StringFlag{Name: "type", Usage: "container, image or volume; the first that there is if left out"},
			&cli.BoolFlag{Name: "size", Aliases: []string{"s"}, Usage: "with the sizes of containers"},
			&cli.StringFlag{Name: "platform", Usage: "choose from an image of many platforms"},
		},
		Action: inspect,
	}
}

func inspect(c *cli.Context) error {
	if err := arguments(c, 1, -1); err != nil {
		return err
	}
	if kind := c.String("type"); kind != "" && kind != "container" && kind != "image" && kind != "volume" {
		return withHint(fmt.Errorf("type %q is unknown", kind), "there are container, image and volume")
	}
	return lookAtStore(c, func(s *layers.Store) error {
		found, failed := []any{}, error(nil)
		for _, name := range c.Args().Slice() {
			v, err := inspectOne(c, s, name)
			if err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			found = append(found, v)
		}
		return errors.Join(printInspected(c, found), failed)
	})
}

func inspectOne(c *cli.Context, s *layers.Store, name string) (any, error) {
	p, err := parsePlatform(c.String("platform"))
	if err != nil {
		return nil, err
	}
	kind := c.String("type")
	if kind == "volume" {
		return inspectVolume(s, name)
	}
	if kind != "image" {
		v, err := inspectContainer(c.Context, s, name, c.Bool("size"))
		if err == nil || kind == "container" || !errors.Is(err, runner.ErrNoContainer) {
			return v, err
		}
	}
	img, err := s.Resolve(name, p)
	if err != nil {
		if v, missing := inspectVolume(s, name); kind == "" && missing == nil {
			return v, nil
		} else if kind == "" && errors.Is(err, layers.ErrNotFound) {
			return nil, withHint(fmt.Errorf("no such container or image: %s", name), "hod ps -a lists the containers, hod images the images")
		}
		return nil, err
	}
	return inspectImage(c.Context, s, img)
}

// printInspected prints Docker's array, or a template for each.
func printInspected(c *cli.Context, found []any) error {
	if format := c.String("format"); format != "" {
		for _, v := range found {
			if err := printTemplate(c.App.Writer, format, v); err != nil {
				return err
			}
		}
		return nil
	}
	b, err := compactJSON(found)
	if err != nil {
		return err
	}
	return indentJSON(c.App.Writer, b)
}

// inspectImage is Docker's description of an image. What the config says stays
// as it is there, fields that we do not know too.
func inspectImage(ctx context.Context, s *layers.Store, img *layers.Image) (map[string]any, error) {
	var config struct {
		Created *time.Time `json:"created"`
		Author  string     `json:"author"`
		History []struct {
			Comment string `json:"comment"`
		} `json:"history"`
		Config map[string]any `json:"config"`
	}
	if err := json.Unmarshal(img.Config, &config); err != nil {
		return nil, fmt.Errorf("read config of %s: %w", img.ID, err)
	}
	size, err := imageSize(s, img)
	if err != nil {
		return nil, err
	}
	names, err := namesOf(ctx, s, img)
	if err != nil {
		return nil, err
	}
	tags, digests := []string{}, []string{}
	for _, full := range names {
		n, err := layers.ParseName(full)
		if err != nil {
			return nil, err
		}
		if n.Tag != "" {
			tags = append(tags, n.Familiar())
		}
		if img.Manifest != nil {
			digests = append(digests, n.FamiliarRepository()+"@"+img.Manifest.Digest.String())
		}
	}
	created, comment := "", ""
	if n := len(config.History); n > 0 {
		comment = config.History[n-1].Comment
	}
	if config.Created != nil {
		created = config.Created.Format(time.RFC3339Nano)
	}
	found := map[string]any{
		"Id": img.ID, "RepoTags": tags, "RepoDigests": digests, "Created": created, "Author": config.Author, "Comment": comment,
		"Architecture": img.Platform.Architecture, "Variant": img.Platform.Variant, "Os": img.Platform.OS,
		"Config": config.Config, "Size": size, "RootFS": map[string]any{"Type": "layers", "Layers": img.Chain},
		"Metadata": map[string]any{"LastTagTime": img.Built},
	}
	if missing := s.Missing(img); len(missing) > 0 { // our own field: they come when somebody needs them
		var list []any
		for _, o := range missing {
			list = append(list, map[string]any{"Layer": o.Layer, "Blob": o.Blob.Digest, "Size": o.Blob.Size, "From": o.From})
		}
		found["LayersElsewhere"] = list
	}
	return found, nil
}
