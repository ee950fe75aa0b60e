//go:build linux

package cgroup

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// home is where on the unified hierarchy groups are made that nobody placed:
// /hod for who may write its root; else below the highest group that this
// process is in and that was delegated to its user, so that the group itself has
// no process and passes its controllers on.
func home(base string) string {
	best := "/"
	for at := own(); at != "/" && unix.Access(base, unix.W_OK) != nil; at = filepath.Dir(at) {
		if delegated(filepath.Join(base, at)) {
			best = at
		}
	}
	return filepath.Join(best, "hod")
}

// delegated says whether groups may be made in a folder and processes moved
// between them.
func delegated(dir string) bool {
	for _, f := range []string{"", "cgroup.procs", "cgroup.subtree_control"} {
		if unix.Access(filepath.Join(dir, f), unix.W_OK) != nil {
			return false
		}
	}
	return true
}

// own is this process's group on the unified hierarchy, "/" when it is unknown.
func own() string {
	text, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Clean("/" + path)
		}
	}
	return "/"
}
