//go:build linux

package main

import (
	"bytes"
	"slices"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestFlagsAreDefinedOnce, and each verb makes the command of its name: urfave/cli panics at the first use of a verb with two flags of a name.
func TestFlagsAreDefinedOnce(t *testing.T) {
	for _, g := range groups() {
		for _, v := range g.verbs {
			c := v.make()
			if c == nil || c.Name != v.name {
				t.Fatalf("verb %q makes %v", v.name, c)
			}
			seen := map[string]bool{}
			for _, f := range c.Flags {
				for _, name := range f.Names() {
					if seen[name] {
						t.Errorf("%s has two flags --%s", c.Name, name)
					}
					seen[name] = true
				}
			}
		}
	}
	for _, list := range [][]*cli.Command{lifeVerbs(), remoteVerbs()} {
		for _, c := range list {
			if !slices.Contains(verbNames(), c.Name) {
				t.Errorf("%s is in no group", c.Name)
			}
		}
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"--root", t.TempDir(), "build", "--call", "nonsense", "."}, &out, &errs); code != 1 {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}
