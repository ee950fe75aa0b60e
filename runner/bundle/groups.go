//go:build linux

package bundle

import (
	"slices"

	"github.com/hodbuild/hod/runner/cgroup"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// mountGroups turns a mount of type cgroup into what this machine has: the
// unified hierarchy, or a folder with each of the old ones.
func mountGroups(s *specs.Spec) error {
	var out []specs.Mount
	for _, m := range s.Mounts {
		if m.Type != "cgroup" {
			out = append(out, m)
			continue
		}
		mounts, unified, err := cgroup.Mounts()
		if err != nil {
			return err
		}
		options := slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool {
			return !slices.Contains([]string{"ro", "rw", "nosuid", "nodev", "noexec", "relatime"}, o)
		})
		if unified {
			out = append(out, specs.Mount{Destination: m.Destination, Type: "cgroup2", Source: "cgroup", Options: options})
			continue
		}
		out = append(out, specs.Mount{Destination: m.Destination, Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "noexec", "mode=755"}})
		for _, h := range mounts {
			out = append(out, specs.Mount{Destination: m.Destination + "/" + h, Type: "cgroup", Source: "cgroup", Options: append(slices.Clone(options), h)})
		}
	}
	s.Mounts = out
	return nil
}
