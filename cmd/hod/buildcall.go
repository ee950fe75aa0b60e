package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
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
		return k.print(w, list, func(w io.Writer) {
			tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
			defer tw.Flush()
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
	return k.print(w, out, func(w io.Writer) { printOutline(w, out) })
}

// printOutline writes the tables that are not empty, each with widths of its own.
func printOutline(w io.Writer, out builder.Outline) {
	table := func(rows int, head string, row func(tw io.Writer, i int)) {
		if rows == 0 {
			return
		}
		tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		fmt.Fprint(tw, head)
		for i := range rows {
			row(tw, i)
		}
		tw.Flush()
		fmt.Fprintln(w)
	}
	needs := func(kind string, list []builder.Need) {
		table(len(list), kind+"\tREQUIRED\n", func(tw io.Writer, i int) {
			fmt.Fprintf(tw, "%s\t%s\n", printable(list[i].Name), map[bool]string{true: "true"}[list[i].Required])
		})
	}
	if out.Name != "" || out.Description != "" {
		tw := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
		fmt.Fprintf(tw, "TARGET:\t%s\n", cmp.Or(out.Name, "(default)"))
		if out.Description != "" {
			fmt.Fprintf(tw, "DESCRIPTION:\t%s\n", printable(out.Description))
		}
		tw.Flush()
		fmt.Fprintln(w)
	}
	table(len(out.Args), "BUILD ARG\tVALUE\tDESCRIPTION\n", func(tw io.Writer, i int) {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", out.Args[i].Name, printable(out.Args[i].Value), printable(out.Args[i].Description))
	})
	needs("SECRET", out.Secrets)
	needs("SSH", out.SSH)
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
	perr := k.print(c.App.Writer, report, func(w io.Writer) { printFound(w, p, found) })
	if perr != nil || len(found) == 0 && report.Error == nil {
		return perr
	}
	return exit(1)
}

// printFound writes the findings as docker build --check does, in the recipe's order; without a plan nothing of it is shown.
func printFound(w io.Writer, p *builder.Plan, found []builder.Warning) {
	switch len(found) {
	case 0:
		fmt.Fprintln(w, "Check complete, no warnings found.")
	case 1:
		fmt.Fprintln(w, "Check complete, 1 warning has been found!")
	default:
		fmt.Fprintf(w, "Check complete, %d warnings have been found!\n", len(found))
	}
	slices.SortStableFunc(found, func(a, b builder.Warning) int { return cmp.Compare(a.Line, b.Line) })
	for _, f := range found {
		fmt.Fprintf(w, "\nWARNING: %s", f.Rule)
		if f.URL != "" {
			fmt.Fprintf(w, " - %s", f.URL)
		}
		fmt.Fprintf(w, "\n%s\n", printable(f.Message))
		switch {
		case f.Line == 0:
		case p == nil:
			fmt.Fprintf(w, "line %d\n", f.Line)
		default:
			fmt.Fprintf(w, "%s:%d\n%s", p.Recipe.Name, f.Line, p.Recipe.Excerpt(f))
		}
	}
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

// print writes JSON or text.
func (k call) print(w io.Writer, v any, text func(io.Writer)) error {
	if k.json {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	text(w)
	return nil
}
