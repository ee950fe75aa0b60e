//go:build linux

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Stats is what a container has used so far, and uses now.
type Stats struct {
	Read                  time.Time
	CPU                   time.Duration // of all processors together
	Memory, MemoryLimit   uint64        // without the page cache that can be dropped
	NetIn, NetOut         uint64
	BlockRead, BlockWrite uint64
	Pids                  uint64
}

// Stats reads the control groups of a running container.
func (cs *Containers) Stats(ctx context.Context, ref string) (*Stats, error) {
	c, s, err := cs.mustRun(ctx, ref)
	if err != nil {
		return nil, err
	}
	if s.Cgroup == "" {
		return nil, fmt.Errorf("stats of container %s: it has no control group (without root, delegation of cgroup v2 is needed)", c.Name)
	}
	g := parseGroups(s.Cgroup)
	st := &Stats{Read: time.Now(), Pids: number(g.read("pids", "pids.current", "pids.current"))}
	g.cpu(st)
	g.memory(st)
	g.block(st)
	st.NetIn, st.NetOut = netBytes(s.Pid)
	return st, nil
}

// read returns a control file's content by its name on v1 and v2, "" when the
// controller is not there.
func (g groups) read(controller, v1, v2 string) string {
	dir, file := g[controller], v1
	if dir == "" {
		dir, file = g["unified"], v2
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

// number reads one; what is not a number ("max") is none.
func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// field finds a line "key value".
func field(text, key string) uint64 {
	for _, line := range strings.Split(text, "\n") {
		if k, v, ok := strings.Cut(line, " "); ok && k == key {
			return number(v)
		}
	}
	return 0
}

func (g groups) cpu(st *Stats) {
	if g["cpuacct"] != "" {
		st.CPU = time.Duration(number(g.read("cpuacct", "cpuacct.usage", "")))
		return
	}
	st.CPU = time.Duration(field(g.read("cpu", "", "cpu.stat"), "usage_usec")) * time.Microsecond
}

func (g groups) memory(st *Stats) {
	st.Memory = number(g.read("memory", "memory.usage_in_bytes", "memory.current"))
	stat := g.read("memory", "memory.stat", "memory.stat")
	cache := max(field(stat, "total_inactive_file"), field(stat, "inactive_file"))
	st.Memory -= min(st.Memory, cache)
	st.MemoryLimit = number(g.read("memory", "memory.limit_in_bytes", "memory.max"))
	if total := hostMemory(); st.MemoryLimit == 0 || st.MemoryLimit > total {
		st.MemoryLimit = total
	}
}

func hostMemory() uint64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(b), "\n") {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			return number(f[1]) * 1024
		}
	}
	return 0
}

// block adds what each device did: lines "8:0 Read 4096" on v1, "8:0
// rbytes=4096 wbytes=0 …" on v2.
func (g groups) block(st *Stats) {
	for _, line := range strings.Split(g.read("blkio", "blkio.throttle.io_service_bytes", "io.stat"), "\n") {
		f := strings.Fields(line)
		if len(f) == 3 && f[1] == "Read" {
			st.BlockRead += number(f[2])
		} else if len(f) == 3 && f[1] == "Write" {
			st.BlockWrite += number(f[2])
		}
		for _, kv := range f {
			if v, ok := strings.CutPrefix(kv, "rbytes="); ok {
				st.BlockRead += number(v)
			} else if v, ok := strings.CutPrefix(kv, "wbytes="); ok {
				st.BlockWrite += number(v)
			}
		}
	}
}

// netBytes adds up the devices of the process's network but the loopback.
func netBytes(pid int) (in, out uint64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return 0, 0
	}
	for _, line := range strings.Split(string(b), "\n") {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if !ok || len(f) < 9 || strings.TrimSpace(name) == "lo" {
			continue
		}
		in += number(f[0])
		out += number(f[8])
	}
	return in, out
}

// ProcessInfo is one process of a container, with the numbers that the host
// knows it by.
type ProcessInfo struct {
	PID, PPID int
	UID       uint32
	CPU       time.Duration
	Command   string
}

// Top lists the processes of a running container.
func (cs *Containers) Top(ctx context.Context, ref string) ([]ProcessInfo, error) {
	c, s, err := cs.mustRun(ctx, ref)
	if err != nil {
		return nil, err
	}
	if s.Cgroup == "" {
		return nil, fmt.Errorf("top of container %s: it has no control group to find its processes by", c.Name)
	}
	var list []ProcessInfo
	for _, pid := range parseGroups(s.Cgroup).pids() {
		p, err := processInfo(pid)
		if err == nil {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("no process is left")
	}
	return list, nil
}

func processInfo(pid int) (ProcessInfo, error) {
	p := ProcessInfo{PID: pid}
	dir := fmt.Sprintf("/proc/%d/", pid)
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return p, err
	}
	name := ""
	for _, line := range strings.Split(string(status), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "Name:":
			name = f[1]
		case "PPid:":
			p.PPID = int(number(f[1]))
		case "Uid:":
			p.UID = uint32(number(f[1]))
		}
	}
	command, err := os.ReadFile(dir + "cmdline")
	if err != nil {
		return p, err
	}
	p.Command = strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " "))
	if p.Command == "" {
		p.Command = "[" + name + "]"
	}
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return p, err
	}
	// Ticks of a hundredth of a second, in user and in kernel mode.
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(f) > 12 {
		p.CPU = time.Duration(number(f[11])+number(f[12])) * 10 * time.Millisecond
	}
	return p, nil
}
