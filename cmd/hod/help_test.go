package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// eachCommand calls fn for every command that somebody can type, with its words.
func eachCommand(fn func(c *cli.Command, path ...string)) {
	for _, name := range verbNames() {
		c := makeVerb(name)
		if c.Hidden {
			continue
		}
		fn(c, name)
		for _, sub := range c.Subcommands {
			fn(sub, name, sub.Name)
		}
	}
}

// page gives what hod prints for a command line.
func pageOf(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, &out, &errs); code != 0 || errs.Len() > 0 {
		t.Fatalf("hod %s: exit %d: %s", strings.Join(args, " "), code, &errs)
	}
	return out.String()
}

// TestHelpPages holds that every page fits a terminal and says the same before
// and behind the verb.
func TestHelpPages(t *testing.T) {
	pages := map[string]string{"": pageOf(t), "help": pageOf(t, "help")}
	eachCommand(func(_ *cli.Command, path ...string) {
		line := strings.Join(path, " ")
		pages[line] = pageOf(t, append([]string{"help"}, path...)...)
		if pageOf(t, append(path, "--help")...) != pages[line] {
			t.Errorf("hod %s --help is another page than hod help %[1]s", line)
		}
	})
	for line, page := range pages {
		for l := range strings.Lines(page) {
			if l = strings.TrimSuffix(l, "\n"); utf8.RuneCountInString(l) > pageWidth || strings.TrimRight(l, " ") != l {
				t.Errorf("hod %s: %q is too wide, or ends on blanks", line, l)
			}
		}
	}
}

// TestHelpWords holds that every verb and flag is described in one manner: what
// it does, without a full stop, and a word for what it takes.
func TestHelpWords(t *testing.T) {
	verbs, flags := regexp.MustCompile(`^[A-Z].*[^.]$`), regexp.MustCompile("^[^A-Z ].*[^.]$|^[A-Z]+[^a-z]")
	eachCommand(func(c *cli.Command, path ...string) {
		line := strings.Join(path, " ")
		if !verbs.MatchString(c.Usage) {
			t.Errorf("hod %s: %q", line, c.Usage)
		}
		for _, f := range c.Flags {
			d, _ := documented(f)
			if !flags.MatchString(d.GetUsage()) {
				t.Errorf("hod %s --%s: %q", line, f.Names()[0], d.GetUsage())
			}
			if d.TakesValue() && valueWord(f.Names()[0], d.GetUsage()) == "VALUE" {
				t.Errorf("hod %s --%s takes a value without a word: add it to helpflags.go", line, f.Names()[0])
			}
		}
		for _, g := range inGroups(path[0], c.Flags) {
			if g.title == "Further" && len(g.flags) > 0 {
				t.Errorf("hod %s --%s stands in no group: add it to helpflags.go", line, g.flags[0].Names()[0])
			}
		}
	})
}

// TestHelpExamples holds that what the pages show can be typed.
func TestHelpExamples(t *testing.T) {
	for verb, list := range examples {
		for _, e := range list {
			for _, one := range strings.Split(e.left, "|") {
				_, typed, ok := strings.Cut(one, "hod ")
				if !ok {
					continue
				}
				l, err := parseLine(newApp(nil, nil), strings.Fields(typed))
				if err != nil || l.help {
					t.Errorf("%s: %s: %v", verb, one, err)
				}
			}
		}
	}
}
