package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/cmd/hod/progress"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"
)

// shownBuild builds and shows it.
func shownBuild(c *cli.Context, s *layers.Store, v *progress.View, o builder.Options) (*builder.Result, error) {
	o.Events = tellBuild(v)
	if os.Getenv("GOGC") == "" { // the lists of large contexts are most of what a build remembers
		debug.SetGCPercent(75)
	}
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

// printBuild prints the ID with -q, unless an archive went there, and writes the files that flags ask for.
func printBuild(c *cli.Context, o builder.Options, res *builder.Result) error {
	if mode, _ := progressMode(c); mode == "quiet" && len(res.Images) > 0 && !slices.ContainsFunc(o.Outputs, toStdout) {
		fmt.Fprintln(c.App.Writer, resultID(res))
	}
	if file := c.String("iidfile"); file != "" {
		if err := writeNamed(file, []byte(resultID(res))); err != nil {
			return fmt.Errorf("--iidfile %s: %w", file, err)
		}
	}
	file := c.String("metadata-file")
	if file == "" {
		return nil
	}
	raw, err := json.MarshalIndent(metadata(res), "", "  ")
	if err != nil {
		return err
	}
	if err := writeNamed(file, append(raw, '\n')); err != nil {
		return fmt.Errorf("--metadata-file %s: %w", file, err)
	}
	return nil
}

func toStdout(out builder.Output) bool { return out.Dest == "-" }

// resultID is the one word for what was built: the image's ID, or the digest of the index of several.
func resultID(res *builder.Result) digest.Digest {
	if len(res.Images) > 1 {
		return res.Top.Digest
	}
	return res.Images[0].ID
}

// writeNamed writes a file that a flag names.
func writeNamed(name string, data []byte) error {
	return lockfile.Replace(name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// metadata is what --metadata-file says, by Docker's names.
func metadata(res *builder.Result) map[string]any {
	meta := map[string]any{}
	if len(res.Images) == 1 {
		meta["containerimage.config.digest"] = res.Images[0].ID
	}
	if len(res.Images) > 0 && len(res.Images[0].Names) > 0 {
		meta["image.name"] = strings.Join(res.Images[0].Names, ",")
	}
	if top := res.Top; top != nil {
		meta["containerimage.digest"], meta["containerimage.descriptor"] = top.Digest, top
	}
	return meta
}
