package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/cmd/hod/progress"
	"github.com/hodbuild/hod/registry"
	"github.com/urfave/cli/v2"
)

// progressFlag is how a verb shows what it does.
func progressFlag() cli.Flag {
	return &cli.StringFlag{Name: "progress", Value: "auto", Usage: "auto, tty, plain, json, rawjson or quiet; auto is what BUILDKIT_PROGRESS says"}
}

// newView makes the view that --progress and --quiet ask for; title says what
// is done, for the line about the whole.
func newView(c *cli.Context, title string) (*progress.View, error) {
	mode, err := progressMode(c)
	if err != nil {
		return nil, err
	}
	return progress.New(progress.Options{W: c.App.ErrWriter, Mode: mode, Title: progress.Printable(title)})
}

// progressMode reads --progress and --quiet. What the environment says is for builds that do not say themselves.
func progressMode(c *cli.Context) (string, error) {
	mode := cmp.Or(c.String("progress"), "auto")
	switch {
	case !c.Bool("quiet") && mode != "auto":
		return mode, nil
	case !c.Bool("quiet"):
		return cmp.Or(os.Getenv("BUILDKIT_PROGRESS"), mode), nil
	case mode != "auto" && mode != "quiet":
		return "", fmt.Errorf("--progress %s and --quiet do not go together", mode)
	}
	return "quiet", nil
}

// buildView is the view of a build, which keeps the output of its steps.
func buildView(c *cli.Context, title string) (*progress.View, error) {
	mode, err := progressMode(c)
	if err != nil {
		return nil, err
	}
	return progress.New(progress.Options{W: c.App.ErrWriter, Mode: mode, Title: progress.Printable(title),
		Logs: filepath.Join(storeRoot(c), "logs")})
}

// tellBuild turns what a builder tells into rows of a view.
func tellBuild(v *progress.View) func(builder.Event) {
	return func(e builder.Event) {
		out := progress.Event{Kind: progress.Kind(e.Kind), Text: e.Text, Size: e.Size}
		switch e.Kind {
		case "explain":
			out.Kind = progress.Note
		case "warning":
			out.Text, out.Rule, out.Line, out.URL = e.Warning.Message, e.Warning.Rule, e.Warning.Line, e.Warning.URL
		case "failed":
			if out.Text = e.Err.Error(); errors.Is(e.Err, context.Canceled) {
				out.Kind = progress.Canceled
			}
		}
		if e.Step != nil {
			out.Row = stepRow(e.Step)
		}
		v.Tell(out)
	}
}

func stepRow(s *builder.Step) progress.Row {
	r := progress.Row{ID: strconv.Itoa(s.ID), Name: s.Name, Stage: s.Stage, Source: builder.IsSource(s)}
	if s.Parent != nil {
		r.After = append(r.After, strconv.Itoa(s.Parent.ID))
	}
	for _, in := range s.Inputs {
		if in != nil {
			r.After = append(r.After, strconv.Itoa(in.ID))
		}
	}
	return r
}

// phases are what a person reads for the actions of a transfer.
var phases = map[string]string{
	"waiting": progress.Waiting, "compress": "Compressing", "download": "Downloading", "upload": "Pushing", "unpack": "Extracting",
	"verify": "Verifying", "exists": "Already exists", "mounted": "Mounted",
}

// tellTransfer turns what a registry's client tells into rows of a view.
func tellTransfer(v *progress.View) func(registry.Event) {
	return func(e registry.Event) {
		out := progress.Event{Kind: progress.Bytes, Row: progress.Row{ID: e.ID, Name: shortID(e.ID), Blob: true},
			Text: cmp.Or(phases[e.Action], e.Action), Current: e.Current, Total: e.Total}
		switch e.Action {
		case "note":
			out = progress.Event{Kind: progress.Warning, Text: e.Text}
		case "exists", "mounted":
			out.Kind = progress.Cached
		case "done":
			out.Kind, out.Text = progress.Done, ""
		}
		v.Tell(out)
	}
}
