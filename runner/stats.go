//go:build linux

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hodbuild/hod/runner/cgroup"
)

// Stats is what a container has used so far, and uses now.
type Stats struct {
	Read time.Time
	cgroup.Usage
	NetIn, NetOut uint64
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
	st := &Stats{Read: time.Now(), Usage: parseGroups(s.Cgroup).Usage()}
	st.NetIn, st.NetOut = netBytes(s.Pid)
	return st, nil
}

// number reads one; what is not a number is none.
func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
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
	for _, pid := range parseGroups(s.Cgroup).Pids() {
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
