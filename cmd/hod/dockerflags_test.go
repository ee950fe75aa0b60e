package main

import (
	"os"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestDockerFlags holds hod's flags against Docker's: the same name, the same
// letter, and a value where Docker has one. What hod does not have says why.
func TestDockerFlags(t *testing.T) {
	text, err := os.ReadFile("../../testdata/docker-flags.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		if strings.HasPrefix(l, "#") {
			continue
		}
		f := append(strings.Split(strings.TrimSuffix(l, "\n"), "\t"), "")
		flags := hodFlags(f[0])
		have := flags[f[1]]
		switch {
		case have == nil && f[4] == "":
			t.Errorf("hod %s does not know --%s", f[0], f[1])
		case have != nil && f[4] != "":
			t.Errorf("hod %s knows --%s, and testdata/docker-flags.tsv says it does not: %s", f[0], f[1], f[4])
		case have == nil:
		case f[2] != "-" && flags[f[2]] != have:
			t.Errorf("hod %s: -%s is not --%s, as it is with Docker", f[0], f[2], f[1])
		case takesValue(have) != (f[3] == "value"):
			t.Errorf("hod %s --%s: Docker's is a %s", f[0], f[1], f[3])
		}
	}
}

// hodFlags are the flags of a verb by their names.
func hodFlags(verb string) map[string]cli.Flag {
	words := ungroup(strings.Fields(verb))
	c := makeVerb(words[0])
	if c != nil && len(words) > 1 && len(c.Subcommands) > 0 {
		c = find(c.Subcommands, words[1])
	}
	if c == nil {
		return nil
	}
	return flagTable(append(newApp(nil, nil).Flags, c.Flags...))
}
