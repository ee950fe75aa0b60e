//go:build linux

package cgroup

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MemoryLimit is the least limit of memory, in bytes, of the groups that this process is in; 0 where there is none.
func MemoryLimit() int64 {
	mounts, err := mounted()
	if err != nil {
		return 0
	}
	groups, _ := groupsOf("self")
	least := int64(1 << 50) // the old hierarchy writes a larger number where there is no limit
	for name, file := range map[string]string{Unified: "memory.max", "memory": "memory.limit_in_bytes"} {
		if path, ok := groups[name]; ok && mounts[name].at != "" {
			least = min(least, leastAbove(mounts[name], path, file))
		}
	}
	if least == 1<<50 {
		return 0
	}
	return least
}

// leastAbove is the least number in a file of a group and of those above it, as far as they are seen.
func leastAbove(h hierarchy, group, file string) int64 {
	least := int64(math.MaxInt64)
	for at := filepath.Clean("/" + h.below(group)); ; at = filepath.Dir(at) {
		text, _ := os.ReadFile(filepath.Join(h.at, at, file))
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			least = min(least, n)
		}
		if at == "/" {
			return least
		}
	}
}
