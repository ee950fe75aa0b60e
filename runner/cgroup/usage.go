//go:build linux

package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what the processes of a group have used so far, and use now.
type Usage struct {
	CPU                   time.Duration // of all processors together
	Memory, MemoryLimit   uint64        // without the page cache that can be dropped
	BlockRead, BlockWrite uint64
	Pids                  uint64
}

// Usage reads the group's accounts; what this machine does not count is zero.
func (g *Group) Usage() Usage {
	u := Usage{Pids: count(g.read("pids", "pids.current", "pids.current"))}
	g.cpu(&u)
	g.memory(&u)
	g.block(&u)
	return u
}

// read returns a control file's content by its name on v1 and v2, "" when the
// controller is not there.
func (g *Group) read(controller, v1, v2 string) string {
	dir, file := g.paths[controller], v1
	if dir == "" {
		dir, file = g.paths[Unified], v2
	}
	if dir == "" {
		return ""
	}
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// count reads one; what is not a number ("max") is none.
func count(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// field finds a line "key value".
func field(text, key string) uint64 {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			return count(v)
		}
	}
	return 0
}

func (g *Group) cpu(u *Usage) {
	if g.paths["cpuacct"] != "" {
		u.CPU = time.Duration(count(g.read("cpuacct", "cpuacct.usage", "")))
		return
	}
	u.CPU = time.Duration(field(g.read("cpu", "", "cpu.stat"), "usage_usec")) * time.Microsecond
}

func (g *Group) memory(u *Usage) {
	u.Memory = count(g.read("memory", "memory.usage_in_bytes", "memory.current"))
	stat := g.read("memory", "memory.stat", "memory.stat")
	cache := max(field(stat, "total_inactive_file"), field(stat, "inactive_file"))
	u.Memory -= min(u.Memory, cache)
	u.MemoryLimit = count(g.read("memory", "memory.limit_in_bytes", "memory.max"))
	if total := hostMemory(); u.MemoryLimit == 0 || u.MemoryLimit > total {
		u.MemoryLimit = total
	}
}

func hostMemory() uint64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			return count(f[1]) * 1024
		}
	}
	return 0
}

// block adds what each device did: lines "8:0 Read 4096" on v1, "8:0
// rbytes=4096 wbytes=0 …" on v2.
func (g *Group) block(u *Usage) {
	for line := range strings.Lines(g.read("blkio", "blkio.throttle.io_service_bytes", "io.stat")) {
		f := strings.Fields(line)
		if len(f) == 3 && f[1] == "Read" {
			u.BlockRead += count(f[2])
		} else if len(f) == 3 && f[1] == "Write" {
			u.BlockWrite += count(f[2])
		}
		for _, kv := range f {
			if v, ok := strings.CutPrefix(kv, "rbytes="); ok {
				u.BlockRead += count(v)
			} else if v, ok := strings.CutPrefix(kv, "wbytes="); ok {
				u.BlockWrite += count(v)
			}
		}
	}
}
