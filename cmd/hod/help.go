package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

// printHelp prints the page of hod, or of the command that the line names. Who
// types hod and nothing else gets the short one.
func printHelp(w io.Writer, app *cli.App, l line) error {
	switch {
	case l.bare:
		return printFirst(w)
	case l.cmd == nil:
		return printOverview(w, app)
	}
	return printCommand(w, l)
}

// first are the commands that somebody types first.
const first = `hod builds, carries and runs OCI images, with no daemon.

  hod build -t app .           build the Dockerfile in this folder
  hod run --rm -it app         run it
  hod run -d -p 8080:80 app    run it in the background, with a published port
  hod ps, hod logs NAME        what runs, and what it says
  hod tag app HOST/app         name it for a registry
  hod push HOST/app            send it there
  hod serve                    be a registry

`

// printFirst prints what to begin with, and every verb by name.
func printFirst(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, first)
	for _, g := range groups() {
		var names []string
		for _, v := range g.verbs {
			if c := v.make(); !c.Hidden {
				names = append(names, c.Name)
			}
		}
		for i := 0; i < len(names); i += 9 {
			title := ""
			if i == 0 {
				title = g.title
			}
			fmt.Fprintf(t, "%s\t%s\n", title, strings.Join(names[i:min(i+9, len(names))], " "))
		}
	}
	fmt.Fprint(t, "\nhod help tells what each does, hod help VERB its flags.\n")
	return t.Flush()
}

func printOverview(w io.Writer, app *cli.App) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "hod builds, carries and runs OCI images, with no daemon.\n\nUsage: hod [--root FOLDER] VERB [FLAGS] [ARGUMENTS]\n")
	for _, g := range groups() {
		fmt.Fprintf(t, "\n%s\n", g.title)
		for _, v := range g.verbs {
			if c := v.make(); !c.Hidden {
				fmt.Fprintf(t, "  %s\t%s\n", c.Name, c.Usage)
			}
		}
	}
	fmt.Fprint(t, "\nFlags of every verb\n")
	printFlags(t, app.Flags)
	fmt.Fprint(t, "\nhod help VERB tells the rest.\n")
	return t.Flush()
}

func printCommand(w io.Writer, l line) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\n\nUsage: hod %s", l.cmd.Usage, strings.Join(l.path, " "))
	if len(l.cmd.Flags) > 0 {
		fmt.Fprint(t, " [FLAGS]")
	}
	if len(l.cmd.Subcommands) > 0 {
		fmt.Fprint(t, " VERB")
	}
	fmt.Fprintln(t, strings.TrimRight(" "+l.cmd.ArgsUsage, " "))
	if l.cmd.Description != "" {
		fmt.Fprintf(t, "\n%s\n", strings.TrimSpace(l.cmd.Description))
	}
	if len(l.cmd.Subcommands) > 0 {
		fmt.Fprint(t, "\nVerbs\n")
	}
	for _, c := range l.cmd.Subcommands {
		fmt.Fprintf(t, "  %s\t%s\n", c.Name, c.Usage)
	}
	if len(l.cmd.Flags) > 0 {
		fmt.Fprint(t, "\nFlags\n")
		printFlags(t, l.cmd.Flags)
	}
	return t.Flush()
}

func printFlags(w io.Writer, flags []cli.Flag) {
	for _, f := range flags {
		d, ok := documented(f)
		if v, is := d.(cli.VisibleFlag); !ok || is && !v.IsVisible() {
			continue
		}
		fmt.Fprintf(w, "  %s\t%s\n", flagNames(f), d.GetUsage())
	}
}

// flagNames is "-p, --publish VALUE": letters first, as people look for them.
func flagNames(f cli.Flag) string {
	var short, long []string
	for _, n := range f.Names() {
		if len(n) == 1 {
			short = append(short, "-"+n)
			continue
		}
		long = append(long, "--"+n)
	}
	s := strings.Join(append(short, long...), ", ")
	if takesValue(f) {
		s += " VALUE"
	}
	return s
}
