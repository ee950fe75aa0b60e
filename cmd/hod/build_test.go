package main

import (
	"bytes"
	"testing"
)

// TestFlagsAreDefinedOnce: urfave/cli panics at the first use of a verb with two flags of a name.
func TestFlagsAreDefinedOnce(t *testing.T) {
	for _, g := range groups() {
		for _, c := range g.commands {
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
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"--root", t.TempDir(), "build", "--call", "nonsense", "."}, &out, &errs); code != 1 {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}
