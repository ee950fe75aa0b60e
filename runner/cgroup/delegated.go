//go:build linux

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// home is where on the unified hierarchy groups are made that nobody placed:
// /hod for who may write its root; else below the highest group that this
// process is in and that was delegated to its user.
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
	all, _ := groupsOf("self")
	return filepath.Clean("/" + all[Unified])
}

// leaf is where the processes of this process's own group go when its controllers are passed on: but for the root of all,
// a group has either processes or groups with limits.
const leaf = "init"

// passOn gives the groups below a folder its controllers. One that cannot be passed on fails the limit that needs it.
// Processes leave before the first: the kernel would pass on some controllers (cpu, pids) beside them, and make the groups
// below unfit for processes of their own.
func passOn(at, base string) error {
	controllers, err := os.ReadFile(filepath.Join(at, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read controllers: %w", err)
	}
	passed, _ := os.ReadFile(filepath.Join(at, "cgroup.subtree_control"))
	missing := slices.DeleteFunc(strings.Fields(string(controllers)), func(c string) bool {
		return slices.Contains(strings.Fields(string(passed)), c)
	})
	if len(missing) > 0 && at == filepath.Join(base, own()) && !isRoot(at) {
		_ = vacate(at)
	}
	for _, c := range missing {
		_ = write(at, "cgroup.subtree_control", "+"+c)
	}
	return nil
}

// isRoot says whether a folder is the root of the machine's hierarchy, which may have processes and groups.
func isRoot(at string) bool {
	_, err := os.Stat(filepath.Join(at, "cgroup.type"))
	return errors.Is(err, os.ErrNotExist)
}

// vacate moves the processes of a group into a leaf below it.
func vacate(at string) error {
	below := filepath.Join(at, leaf)
	if err := os.Mkdir(below, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	pids, err := os.ReadFile(filepath.Join(at, "cgroup.procs"))
	for _, pid := range strings.Fields(string(pids)) {
		// One that has ended meanwhile is gone; one that may not be moved leaves the group busy.
		_ = write(below, "cgroup.procs", pid)
	}
	return err
}
