package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/hodbuild/hod/builder"
	"github.com/urfave/cli/v2"
)

// call is what is asked of a recipe instead of building it.
type call struct {
	name   string
	json   bool
	format string // of a plan
}

func callOf(c *cli.Context) (call, error) {
	name, attrs, _ := strings.Cut(c.String("call"), ",")
	out := call{name: name, format: c.String("format")}
	if strings.HasPrefix(name, "format=") { // --call format=json --check
		name, attrs, out.name = "build", c.String("call"), "build"
	}
	switch attrs {
	case "", "format=text":
	case "format=json":
		out.json = true
	default:
		return out, fmt.Errorf("--call attribute %q is not known: use format=json or format=text", attrs)
	}
	switch {
	case c.Bool("check"):
		out.name = "check"
	case c.Bool("plan"):
		out.name = "plan"
	case name == "lint":
		out.name = "check"
	}
	switch out.name {
	case "build", "check", "outline", "targets", "plan":
		return out, nil
	}
	return out, fmt.Errorf("--call %q is not known: use build, check, outline or targets", name)
}

func (k call) do(c *cli.Context, o builder.Options) error {
	w := c.App.Writer
	switch k.name {
	case "targets":
		list, err := builder.Targets(c.Context, o)
		if err != nil {
			return err
		}
		return k.print(w, list, func(tw io.Writer) {
			fmt.Fprintln(tw, "TARGET\tDESCRIPTION")
			for _, t := range list.Targets {
				name := t.Name
				if t.Default {
					name = strings.TrimSpace(name + " (default)")
				}
				fmt.Fprintf(tw, "%s\t%s\n", name, printable(t.Description))
			}
		})
	case "check":
		return k.check(c, o)
	}
	p, err := builder.MakePlan(c.Context, o)
	if err != nil {
		return err
	}
	if k.name == "plan" {
		return p.Write(w, k.format)
	}
	out := p.Targets[0].Outline
	return k.print(w, out, func(tw io.Writer) {
		fmt.Fprintln(tw, "BUILD ARG\tVALUE\tDESCRIPTION")
		for _, a := range out.Args {
			fmt.Fprintf(tw, "%s\t%s\t%s\n", a.Name, printable(a.Value), printable(a.Description))
		}
		for _, n := range out.Secrets {
			fmt.Fprintf(tw, "secret %s\trequired=%v\t\n", printable(n.Name), n.Required)
		}
		for _, n := range out.SSH {
			fmt.Fprintf(tw, "ssh %s\trequired=%v\t\n", printable(n.Name), n.Required)
		}
	})
}

// check prints what the linter finds; findings are exit code 1.
func (k call) check(c *cli.Context, o builder.Options) error {
	var found []builder.Warning
	o.Events = func(e builder.Event) {
		if e.Kind == "warning" {
			found = append(found, e.Warning)
		}
	}
	o.CheckAll = o.Target == ""
	p, err := builder.MakePlan(c.Context, o)
	var broken *builder.RecipeError
	isRecipe := errors.As(err, &broken)
	if err != nil && !(isRecipe && (k.json || len(found) > 0 && broken.Line == 0)) {
		return err
	}
	report := checked{Warnings: []lintWarning{}}
	for _, w := range found {
		report.Warnings = append(report.Warnings, lintWarning{w.Rule, w.Description, w.URL, w.Message, builder.LinesAt(w.Line, w.Last)})
	}
	if p != nil {
		report.Sources = []lintSource{{p.Recipe.Name, "Dockerfile", p.Recipe.Text()}}
	}
	if isRecipe && broken.Line > 0 {
		report.Error = &lintError{broken.Error(), builder.LinesAt(broken.Line, broken.Last)}
	}
	perr := k.print(c.App.Writer, report, func(tw io.Writer) {
		for _, w := range found {
			fmt.Fprintf(tw, "WARNING: %s - %s\n%s\nline %d\n\n", w.Rule, w.URL, printable(w.Message), w.Line)
		}
		if len(found) == 0 {
			fmt.Fprintln(tw, "Check complete, no warnings found.")
		}
	})
	if perr != nil || len(found) == 0 && report.Error == nil {
		return perr
	}
	return exit(1)
}

// checked is the result of a check in BuildKit's JSON.
type checked struct {
	Warnings []lintWarning `json:"warnings"`
	Sources  []lintSource  `json:"sources,omitempty"`
	Error    *lintError    `json:"buildError,omitempty"`
}

type lintWarning struct {
	Rule        string            `json:"ruleName"`
	Description string            `json:"description,omitempty"`
	URL         string            `json:"url,omitempty"`
	Detail      string            `json:"detail,omitempty"`
	Location    *builder.Location `json:"location,omitempty"`
}

type lintSource struct {
	Filename string `json:"filename,omitempty"`
	Language string `json:"language,omitempty"`
	Data     []byte `json:"data,omitempty"`
}

type lintError struct {
	Message  string            `json:"message"`
	Location *builder.Location `json:"location,omitempty"`
}

// print writes JSON or a table.
func (k call) print(w io.Writer, v any, text func(io.Writer)) error {
	if k.json {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	tw := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	text(tw)
	return tw.Flush()
}
