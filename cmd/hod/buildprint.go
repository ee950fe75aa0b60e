package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/cmd/hod/progress"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/urfave/cli/v2"
)

// shownBuild builds and shows it.
func shownBuild(c *cli.Context, s *layers.Store, v *progress.View, o builder.Options) (*builder.Result, error) {
	o.Events = tellBuild(v)
	res, err := builder.Build(c.Context, o)
	if err == nil {
		err = tellResult(s, v, res)
	}
	v.Close()
	return res, logHint(err, v)
}

// tellResult says what came out.
func tellResult(s *layers.Store, v *progress.View, res *builder.Result) error {
	for _, img := range res.Images {
		size, err := imageSize(s, img.Image)
		if err != nil {
			return err
		}
		v.Tell(progress.Event{Kind: progress.Result, Text: img.ID.String(), Layers: len(img.Chain), Size: size, Names: img.Names})
	}
	return nil
}

// logHint says where the whole output of a failed step is, unless there is
// something better to say.
func logHint(err error, v *progress.View) error {
	var recipe *builder.RecipeError
	if name := v.Log(); errors.As(err, &recipe) && name != "" && hint(err) == "" {
		return withHint(err, "the whole output is in "+name)
	}
	return err
}

// printBuild prints the ID with -q and writes the files that flags ask for.
func printBuild(c *cli.Context, res *builder.Result) error {
	if c.Bool("quiet") || c.String("progress") == "quiet" {
		for _, img := range res.Images {
			fmt.Fprintln(c.App.Writer, img.ID)
		}
	}
	if file := c.String("iidfile"); file != "" {
		if len(res.Images) != 1 {
			return fmt.Errorf("--iidfile needs one image, there are %d", len(res.Images))
		}
		if err := lockfile.AtomicWrite(file, []byte(res.Images[0].ID), 0o644, false); err != nil {
			return err
		}
	}
	file := c.String("metadata-file")
	if file == "" {
		return nil
	}
	meta := map[string]any{}
	for _, img := range res.Images {
		meta["containerimage.config.digest"] = img.ID
		if img.Manifest != nil {
			meta["containerimage.digest"] = img.Manifest.Digest
		}
		if len(img.Names) > 0 {
			meta["image.name"] = img.Names[0]
		}
	}
	raw, err := json.MarshalIndent(meta, "", "  ")
	if err != nil {
		return err
	}
	return lockfile.AtomicWrite(file, append(raw, '\n'), os.FileMode(0o644), false)
}
