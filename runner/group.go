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

	"github.com/hodbuild/hod/runner/cgroup"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A container's control groups are recorded as folders, one per hierarchy, each
// with the controller's name before it: "memory=/sys/fs/cgroup/memory/hod/ID".
// On the unified hierarchy there is one, under the name "unified".
type groups map[string]string

// GroupPaths writes folders as a State keeps them.
func parseGroups(s string) groups {
	g := groups{}
	for _, part := range strings.Split(s, ";") {
		if name, path, ok := strings.Cut(part, "="); ok {
			g[name] = path
		}
	}
	return g
}

func (g groups) String() string {
	var parts []string
	for name, path := range g {
		parts = append(parts, name+"="+path)
	}
	return strings.Join(parts, ";")
}

// pids are the processes in the groups, those of sub-groups too.
func (g groups) pids() []int {
	seen := map[int]bool{}
	var all []int
	for _, root := range g {
		filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.Name() != "cgroup.procs" {
				return nil
			}
			b, _ := os.ReadFile(path)
			for _, f := range strings.Fields(string(b)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 0 && !seen[pid] {
					seen[pid] = true
					all = append(all, pid)
				}
			}
			return nil
		})
	}
	return all
}

// freezers are how each hierarchy is told to stop its processes, and where it
// says that they did.
var freezers = []struct{ group, file, on, off, state, isOn, isOff string }{
	{"freezer", "freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN", "THAWED"},
	{"unified", "cgroup.freeze", "1", "0", "cgroup.events", "frozen 1", "frozen 0"},
}

// freeze stops or continues everything in the groups.
func (g groups) freeze(frozen bool) error {
	for _, f := range freezers {
		dir, ok := g[f.group]
		if !ok {
			continue
		}
		want, is := f.off, f.isOff
		if frozen {
			want, is = f.on, f.isOn
		}
		return settle(filepath.Join(dir, f.file), want, filepath.Join(dir, f.state), is)
	}
	return errors.New("this container has no control group that can be frozen (without root, delegation of cgroup v2 is needed)")
}

// settle writes to a control file until another one says that it is so.
func settle(file, want, state, is string) error {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if err := os.WriteFile(file, []byte(want), 0); err != nil {
			return err
		}
		if b, err := os.ReadFile(state); err == nil && strings.Contains(string(b), is) {
			return nil
		}
	}
	return errors.New("the processes did not come to rest within ten seconds")
}

// destroy kills what is in the groups and removes them.
func (g groups) destroy() error {
	g.freeze(false)
	for try := 0; try < 500; try++ {
		pids := g.pids()
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
		if len(pids) == 0 && g.remove() {
			return nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return fmt.Errorf("remove control groups %s: they stay busy", g)
}

// remove deletes the folders, the deepest first; true when none is left.
func (g groups) remove() bool {
	left := false
	for _, root := range g {
		var dirs []string
		filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			if err := unix.Rmdir(dirs[i]); err != nil && !errors.Is(err, unix.ENOENT) {
				left = true
			}
		}
	}
	return !left
}

// reap takes away what a dead monitor left: processes, control groups, devices.
func reap(ctx context.Context, c *Container, s *State) {
	if s.BootID != bootID() {
		return
	}
	if fd, err := openProcess(s); err == nil {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 2000)
		unix.Close(fd)
	}
	if c.Options.Runtime != "" {
		c.ociRuntime().delete()
	}
	if s.Cgroup != "" {
		parseGroups(s.Cgroup).destroy()
	}
	if s.Network != nil {
		unplug(s.Network.Link)
	}
}

// withSwap gives the resources of a container with a memory limit, and no word of swap, as much swap as memory, as docker
// does, where the group can be held to it.
func withSwap(g *cgroup.Group, r Resources, to *specs.LinuxResources) *specs.LinuxResources {
	if r.Memory > 0 && r.MemorySwap == 0 && g.CountsSwap() {
		both, changed, memory := 2*r.Memory, *to, *to.Memory
		memory.Swap, changed.Memory = &both, &memory
		return &changed
	}
	return to
}

// limitedGroup makes a control group with limits.
func limitedGroup(id, parent string, r Resources, limits *specs.LinuxResources) (*cgroup.Group, error) {
	g, err := cgroup.Create(id, parent, limits)
	if err != nil {
		return nil, err
	}
	if all := withSwap(g, r, limits); all != limits {
		err = g.Update(&specs.LinuxResources{Memory: all.Memory})
	}
	if err != nil {
		return nil, errors.Join(err, g.Destroy())
	}
	return g, nil
}
