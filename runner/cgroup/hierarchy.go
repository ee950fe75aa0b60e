//go:build linux

package cgroup

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"strings"
)

// hierarchy is where one is mounted, and which of its groups is seen there: in a
// container without a namespace of control groups, the container's.
type hierarchy struct{ at, root string }

// below is a group's path, as the kernel tells it, from the group that is seen.
func (h hierarchy) below(path string) string {
	if rest, ok := strings.CutPrefix(path, h.root); ok && h.root != "/" && (rest == "" || rest[0] == '/') {
		return "/" + strings.TrimPrefix(rest, "/")
	}
	return path
}

// hierarchies finds where each controller is mounted. The unified hierarchy
// counts only when it has controllers.
func hierarchies() (map[string]string, error) {
	all, err := mounted()
	out := map[string]string{}
	for name, h := range all {
		out[name] = h.at
	}
	return out, err
}

func mounted() (map[string]hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	defer f.Close()
	out := map[string]hierarchy{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, tail := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(tail) < 3 {
			continue
		}
		var names []string
		switch tail[0] {
		case "cgroup2":
			names = []string{Unified}
		case "cgroup":
			names = strings.Split(tail[2], ",")
		}
		for _, name := range names {
			if _, seen := out[name]; !seen {
				out[name] = hierarchy{fields[4], fields[3]}
			}
		}
	}
	return out, lines.Err()
}

// groupsOf tells in which group of each controller's hierarchy a process is.
func groupsOf(pid string) (map[string]string, error) {
	text, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return nil, fmt.Errorf("find control group: %w", err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		names, path, ok := strings.Cut(rest, ":")
		for name := range strings.SplitSeq(names, ",") {
			if ok {
				out[cmp.Or(name, Unified)] = path
			}
		}
	}
	return out, nil
}
