//go:build linux

package runner

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/hodbuild/hod/runner/cgroup"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// MemoryLimit is the least limit of memory, in bytes, of the control groups that this process is in; 0 where there is none.
func MemoryLimit() int64 { return cgroup.MemoryLimit() }

// A container's control groups are recorded as folders, one per hierarchy, each
// with the controller's name before it: "memory=/sys/fs/cgroup/memory/hod/ID".
// On the unified hierarchy there is one, under the name "unified".
func parseGroups(s string) *cgroup.Group {
	paths := map[string]string{}
	for _, part := range strings.Split(s, ";") {
		if name, path, ok := strings.Cut(part, "="); ok {
			paths[name] = path
		}
	}
	return cgroup.Open(paths)
}

// writeGroups is what parseGroups reads.
func writeGroups(g *cgroup.Group) string {
	var parts []string
	for name, path := range g.Paths() {
		parts = append(parts, name+"="+path)
	}
	return strings.Join(parts, ";")
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
		parseGroups(s.Cgroup).Destroy()
	}
	if s.Network != nil {
		unplug(s.Network.Link)
	}
	vs := volumesOf(c)
	for _, name := range slices.Concat(c.Volumes, c.Anonymous) {
		_ = vs.release(name) // one that is in use is no longer this container's
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
