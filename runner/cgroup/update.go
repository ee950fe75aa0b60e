//go:build linux

package cgroup

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Update writes limits to a group that has processes. The kernel takes a limit
// of memory only below the one of memory and swap, so what it refuses is written
// again after the rest.
func (g *Group) Update(res *specs.LinuxResources) error {
	settings := settingsOf(res)
	for _, s := range settings {
		if dir, _, _ := g.place(s); dir == "" && !s.optional {
			return fmt.Errorf("set %s: the running container has no %s controller; stop it, update it and start it again", s.name, s.controller)
		}
	}
	slices.Reverse(settings)
	var again []setting
	for _, s := range settings {
		if dir, file, value := g.place(s); dir != "" && setLimit(dir, file, value) != nil {
			again = append(again, s)
		}
	}
	for _, s := range again {
		dir, file, value := g.place(s)
		if err := setLimit(dir, file, value); err != nil && !s.optional {
			return fmt.Errorf("set %s: %w", s.name, err)
		}
	}
	return nil
}

// CountsSwap says whether the kernel counts the swap of this group.
func (g *Group) CountsSwap() bool {
	for controller, file := range map[string]string{"memory": "memory.memsw.limit_in_bytes", Unified: "memory.swap.max"} {
		if dir := g.paths[controller]; dir != "" && unix.Access(filepath.Join(dir, file), unix.W_OK) == nil {
			return true
		}
	}
	return false
}

// place is where a setting is written in this group; dir is empty if nowhere.
func (g *Group) place(s setting) (dir, file, value string) {
	if dir = g.paths[s.controller]; dir != "" && s.v1 != "" {
		return dir, s.v1, s.v1Value
	}
	if dir = g.paths[Unified]; dir != "" && s.v2 != "" {
		return dir, s.v2, s.v2Value
	}
	return "", "", ""
}
