//go:build linux

package runner

import (
	"os"
	"path/filepath"
	"time"

	"github.com/hodbuild/hod/runner/cgroup"
)

// sweep removes a folder without a record: a creation or a removal that was
// killed. The hour leaves a creation that is on its way alone.
func (cs *Containers) sweep(id string) {
	dir := filepath.Join(cs.dir, id)
	if st, err := os.Lstat(dir); err == nil && time.Since(st.ModTime()) > time.Hour {
		_ = removeTree(dir) // the next list tries again
	}
}

// sweepRemains takes away what removals left that were killed: folders that
// nobody deletes any more, and names of containers that are gone.
func (cs *Containers) sweepRemains() {
	trash, _ := filepath.Glob(filepath.Join(cs.dir, trashPrefix+"*"))
	for _, dir := range trash {
		if st, err := os.Lstat(dir); err == nil && time.Since(st.ModTime()) > time.Minute {
			_ = removeTree(dir)
		}
	}
	names, _ := os.ReadDir(filepath.Join(cs.dir, namesDir))
	for _, n := range names {
		link := filepath.Join(cs.dir, namesDir, n.Name())
		if id, err := os.Readlink(link); err == nil && !cs.holds(id, link) {
			os.Remove(link)
		}
	}
}

// sweepGroup removes the control groups of a container whose maker was killed
// before it wrote down where they are. The caller holds the container's lock.
func sweepGroup(c *Container) {
	if g, err := cgroup.Find(c.ID, c.Options.CgroupParent); err == nil {
		_ = g.Destroy() // what cannot be removed is not in the container's way
	}
}
