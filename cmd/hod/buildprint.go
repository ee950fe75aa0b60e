package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/urfave/cli/v2"
)

// buildProgress prints a build's events on stderr, as lines or as JSON.
type buildProgress struct {
	w    io.Writer
	mode string // plain, json or quiet
}

func newBuildProgress(c *cli.Context) (*buildProgress, error) {
	p := &buildProgress{w: c.App.ErrWriter, mode: c.String("progress")}
	if c.Bool("quiet") {
		p.mode = "quiet"
	}
	switch p.mode {
	case "auto", "tty":
		p.mode = "plain"
	case "plain", "json", "rawjson", "quiet", "none":
	default:
		return nil, fmt.Errorf("--progress %q is not known: use auto, plain, json or quiet", p.mode)
	}
	return p, nil
}

func (p *buildProgress) event(e builder.Event) {
	switch p.mode {
	case "plain":
		p.plain(e)
	case "json", "rawjson":
		p.json(e)
	}
}

func (p *buildProgress) plain(e builder.Event) {
	switch e.Kind {
	case "start":
		fmt.Fprintf(p.w, "#%d %s\n", e.Step.ID, printable(e.Step.Name))
	case "cached":
		fmt.Fprintf(p.w, "#%d CACHED\n", e.Step.ID)
	case "output":
		fmt.Fprintf(p.w, "#%d %s\n", e.Step.ID, printable(e.Text))
	case "explain":
		fmt.Fprintf(p.w, "#%d because %s\n", e.Step.ID, printable(e.Text))
	case "done":
		fmt.Fprintf(p.w, "#%d DONE\n", e.Step.ID)
	case "failed":
		fmt.Fprintf(p.w, "#%d ERROR: %s\n", e.Step.ID, printable(e.Err.Error()))
	case "warning":
		where := ""
		if e.Warning.Line > 0 {
			where = fmt.Sprintf(" (line %d)", e.Warning.Line)
		}
		fmt.Fprintf(p.w, "WARN %s: %s%s\n", e.Warning.Rule, printable(e.Warning.Message), where)
	}
}

func (p *buildProgress) json(e builder.Event) {
	out := map[string]any{"event": e.Kind}
	if e.Step != nil {
		out["id"], out["name"], out["stage"] = e.Step.ID, e.Step.Name, e.Step.Stage
	}
	if e.Text != "" {
		out["text"] = e.Text
	}
	if e.Err != nil {
		out["error"] = e.Err.Error()
	}
	if e.Kind == "warning" {
		out["warning"] = e.Warning
	}
	if raw, err := json.Marshal(out); err == nil {
		fmt.Fprintf(p.w, "%s\n", raw)
	}
}

// end says what came out.
func (p *buildProgress) end(res *builder.Result) {
	if p.mode != "plain" {
		return
	}
	for _, img := range res.Images {
		fmt.Fprintf(p.w, "image %s, %d layers\n", img.ID, len(img.Chain))
		for _, n := range img.Names {
			fmt.Fprintf(p.w, "named %s\n", n)
		}
	}
}

// printBuild prints the ID with -q and writes the files that flags ask for.
func printBuild(c *cli.Context, res *builder.Result) error {
	if c.Bool("quiet") {
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
