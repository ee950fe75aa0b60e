//go:build linux

package cgroup

import (
	"cmp"
	"os"
	"path/filepath"
)

// Find is what there is of the group that Create makes under this name: who made
// it may have been killed before it could write down where it is.
func Find(id, parent string) (*Group, error) {
	mounts, err := hierarchies()
	if err != nil {
		return nil, err
	}
	g := &Group{paths: map[string]string{}}
	for controller, base := range mounts {
		above := cmp.Or(parent, "/hod")
		if controller == Unified {
			above = cmp.Or(parent, home(base))
		}
		path := filepath.Join(base, above, id)
		if _, err := os.Lstat(path); err == nil {
			g.paths[controller] = path
		}
	}
	return g, nil
}
