package main

import (
	"os"
	"runtime/debug"
	"slices"

	"github.com/hodbuild/hod/runner"
)

// listing are the verbs that hold lists of all files of an image.
var listing = []string{"build", "commit", "copy", "diff", "export", "fsck", "import", "load", "pull", "push", "save", "serve"}

// boundMemory lets a verb of large lists collect garbage more often instead of dying where its control group has little
// memory. What a collection cannot know of, such as stacks of threads, has the rest.
func boundMemory(verb string) {
	if os.Getenv("GOMEMLIMIT") != "" || !slices.Contains(listing, verb) {
		return
	}
	if limit := runner.MemoryLimit(); limit > 0 {
		debug.SetMemoryLimit(limit / 4 * 3)
	}
}
