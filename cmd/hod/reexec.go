package main

import (
	"fmt"
	"os"

	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner"
)

// reexecuted begins what hod starts a second hod for. Each room that needs it
// looks at its own variable and costs nothing when it was not meant.
func reexecuted() {
	runner.Tried()
	if err := userns.Entered(); err != nil {
		fmt.Fprintln(os.Stderr, "hod:", err)
		os.Exit(125)
	}
}
