package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// printHelp prints the page of hod, or of the command that the line names. Who
// types hod and nothing else gets the short one.
func printHelp(w io.Writer, app *cli.App, l line) error {
	p := &page{}
	switch {
	case l.bare:
		p.first()
	case l.cmd == nil:
		p.overview(app)
	default:
		p.command(l)
	}
	_, err := io.WriteString(w, p.String())
	return err
}

// first are the commands that somebody types first.
var first = []entry{
	{"hod build -t app .", "build the Dockerfile in this folder"},
	{"hod run --rm -it app", "run it"},
	{"hod run -d -p 8080:80 app", "run it in the background, with a published port"},
	{"hod ps, hod logs NAME", "what runs, and what it says"},
	{"hod tag app HOST/app", "name it for a registry"},
	{"hod push HOST/app", "send it there"},
	{"hod serve", "be a registry"},
}

// first says what to begin with, and every verb by name.
func (p *page) first() {
	p.WriteString("hod builds, carries and runs OCI images, with no daemon.\n\n")
	p.rows(first)
	p.WriteString("\n")
	for _, g := range groups() {
		var names []string
		for _, r := range g.rows() {
			names = append(names, r.left)
		}
		for i, text := range wrapped(strings.Join(names, " "), pageWidth-12) {
			fmt.Fprintf(p, "%-12s%s\n", []string{g.title, ""}[min(i, 1)], text)
		}
	}
	p.WriteString("\nhod help tells what each does, hod help VERB its flags.\n")
}

// rows are the group's verbs with what they do.
func (g group) rows() []entry {
	var rows []entry
	for _, v := range g.verbs {
		if c := v.make(); !c.Hidden {
			rows = append(rows, entry{c.Name, c.Usage})
		}
	}
	return rows
}

func (p *page) overview(app *cli.App) {
	p.WriteString("hod builds, carries and runs OCI images, with no daemon.\n\nUsage: hod [FLAGS] VERB [FLAGS] [ARGUMENTS]\n")
	for _, g := range groups() {
		p.titled(g.title, g.rows())
	}
	p.titled("Flags of every verb", flagRows(app.Flags))
	p.WriteString("\nhod help VERB tells the rest.\n")
}

func (p *page) command(l line) {
	p.WriteString(l.cmd.Usage + "\n\nUsage: " + usage(l) + "\n")
	if l.cmd.Description != "" {
		p.WriteString("\n" + strings.TrimSpace(l.cmd.Description) + "\n")
	}
	var verbs []entry
	for _, c := range l.cmd.Subcommands {
		verbs = append(verbs, entry{c.Name, c.Usage})
	}
	p.titled("Verbs", verbs)
	for _, g := range inGroups(l.path[0], l.cmd.Flags) {
		p.titled(g.title, flagRows(g.flags))
	}
	p.examples(examples[strings.Join(l.path, " ")])
	if slices.ContainsFunc(l.cmd.Flags, repeatable) {
		p.WriteString("\nA flag with … may be given several times.\n")
	}
	if len(verbs) > 0 {
		fmt.Fprintf(p, "\nhod help %s VERB tells the rest.\n", strings.Join(l.path, " "))
	}
}

// usage is how the command of a line is typed.
func usage(l line) string {
	words := append([]string{"hod"}, l.path...)
	if len(l.cmd.Flags) > 0 {
		words = append(words, "[FLAGS]")
	}
	if len(l.cmd.Subcommands) > 0 {
		words = append(words, "VERB")
	}
	return strings.Join(append(words, strings.Fields(l.cmd.ArgsUsage)...), " ")
}

// pageWidth is the widest line of a page.
const pageWidth = 80

// page is a help page in the making.
type page struct{ strings.Builder }

// entry is something that can be typed, and what it does.
type entry struct{ left, right string }

// titled writes rows below a title, and nothing where there are none.
func (p *page) titled(title string, rows []entry) {
	if len(rows) > 0 {
		fmt.Fprintf(p, "\n%s\n", title)
		p.rows(rows)
	}
}

// rows writes two columns. A left side that is too wide for its column has a line
// of its own.
func (p *page) rows(rows []entry) {
	column := 0
	for _, r := range rows {
		if n := utf8.RuneCountInString(r.left); n <= 34 {
			column = max(column, n)
		}
	}
	for _, r := range rows {
		left := r.left
		if utf8.RuneCountInString(left) > column {
			fmt.Fprintf(p, "  %s\n", left)
			left = ""
		}
		for _, text := range wrapped(r.right, pageWidth-column-4) {
			fmt.Fprintf(p, "  %-*s  %s\n", column, left, text)
			left = ""
		}
	}
}

// examples writes command lines, what each does above it.
func (p *page) examples(list []entry) {
	for i, e := range list {
		if i == 0 {
			p.WriteString("\nExamples\n")
		}
		fmt.Fprintf(p, "  # %s\n  %s\n", e.right, e.left)
	}
}

// wrapped is text in lines of at most width columns, one at least.
func wrapped(text string, width int) []string {
	var lines []string
	at := ""
	for _, word := range strings.Fields(text) {
		if at != "" && utf8.RuneCountInString(at)+1+utf8.RuneCountInString(word) > width {
			lines, at = append(lines, at), ""
		}
		at = strings.TrimPrefix(at+" "+word, " ")
	}
	return append(lines, at)
}

// flagRows are the flags that a page shows.
func flagRows(flags []cli.Flag) []entry {
	var rows []entry
	for _, f := range flags {
		d, ok := documented(f)
		if v, is := d.(cli.VisibleFlag); !ok || is && !v.IsVisible() {
			continue
		}
		rows = append(rows, entry{flagNames(f, d), flagText(d)})
	}
	return rows
}

// flagText is what a flag does, with what it is when nobody sets it.
func flagText(d cli.DocGenerationFlag) string {
	text := strings.ReplaceAll(d.GetUsage(), "`", "")
	if given := d.GetValue(); given != "" && given != "0" && given != "-1" && given != "false" && !strings.Contains(text, "default") {
		text += " (default " + strings.Trim(given, `"`) + ")"
	}
	return text
}

// flagNames is "-p, --publish PORT…": letters first, as people look for them, and
// room for one where there is none.
func flagNames(f cli.Flag, d cli.DocGenerationFlag) string {
	var short, long []string
	for _, n := range f.Names() {
		if len(n) == 1 {
			short = append(short, "-"+n)
			continue
		}
		long = append(long, "--"+n)
	}
	names := strings.Join(append(short, long...), ", ")
	if len(short) == 0 {
		names = "    " + names
	}
	if !d.TakesValue() {
		return names
	}
	names += " " + valueWord(f.Names()[0], d.GetUsage())
	if repeatable(f) {
		names += "…"
	}
	return names
}

// valueWord says what a flag takes: the word in back quotes in its text, else that
// of its name.
func valueWord(name, usage string) string {
	if _, rest, ok := strings.Cut(usage, "`"); ok {
		word, _, _ := strings.Cut(rest, "`")
		return word
	}
	return cmp.Or(valueWords()[name], "VALUE")
}
