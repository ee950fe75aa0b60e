//go:build linux

package cgroup

import "testing"

// TestBelow: in a container without a namespace of control groups the kernel tells
// paths from the machine's root, and the container's group is what is mounted.
func TestBelow(t *testing.T) {
	for _, c := range []struct{ root, path, want string }{
		{"/", "/hod/a", "/hod/a"}, {"/", "/", "/"}, {"/docker/c", "/docker/c/hod/a", "/hod/a"},
		{"/docker/c", "/docker/c", "/"}, {"/docker/c", "/docker/cc/hod", "/docker/cc/hod"}, {"/docker/c", "/", "/"},
	} {
		if got := (hierarchy{"", c.root}).below(c.path); got != c.want {
			t.Errorf("%s below %s: %s, want %s", c.path, c.root, got, c.want)
		}
	}
}
