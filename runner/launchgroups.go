//go:build linux

package runner

import (
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner/cgroup"
	"github.com/hodbuild/hod/runner/sandbox"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const groupsDir = "/sys/fs/cgroup"

// showGroups shows a container its own control groups, where programs (the JVM,
// Go, .NET, Node) look for how much memory and processor they may take. They are
// parts of the host's hierarchies, not new mounts of them: nothing above the
// container's own is there. They come before the others, and the caller closes
// them.
func showGroups(g *cgroup.Group, s *specs.Spec, others []sandbox.FDMount, readOnly bool) ([]sandbox.FDMount, error) {
	if g == nil || coversGroups(s, others) {
		return nil, nil
	}
	trees, err := groupTrees(g.Paths(), readOnly)
	if err == nil {
		return trees, nil
	}
	for _, t := range trees {
		t.FD.Close()
	}
	if userns.Here() == userns.Root {
		return nil, fmt.Errorf("show the control groups: %w", err)
	}
	return nil, nil // an ordinary user may not be allowed to, and has the limits all the same
}

// coversGroups says that a mount of the user's lies there, or that there is no
// /sys of the container's own to lay them over.
func coversGroups(s *specs.Spec, others []sandbox.FDMount) bool {
	for _, m := range s.Mounts {
		if at := path.Clean(m.Destination); strings.HasPrefix(at+"/", groupsDir+"/") || at == "/sys/fs" || at == "/sys" && m.Type != "sysfs" {
			return true
		}
	}
	return slices.ContainsFunc(others, func(t sandbox.FDMount) bool { return strings.HasPrefix(path.Clean(t.Target)+"/", "/sys/") })
}

// groupTrees opens the folders of groups: the unified hierarchy's lies at
// groupsDir, those of the old ones in folders of a small file system there.
func groupTrees(paths map[string]string, readOnly bool) (trees []sandbox.FDMount, err error) {
	add := func(target string, f *os.File, err error) error {
		if err == nil {
			trees = append(trees, sandbox.FDMount{Target: target, FD: f, ReadOnly: readOnly})
		}
		return err
	}
	if at, ok := paths[cgroup.Unified]; ok {
		f, err := openGroup(at)
		return trees, add(groupsDir, f, err)
	}
	names := slices.Sorted(maps.Keys(paths))
	f, err := groupsFolder(names)
	err = add(groupsDir, f, err)
	for _, name := range names {
		if err == nil {
			f, err = openGroup(paths[name])
			err = add(path.Join(groupsDir, name), f, err)
		}
	}
	return trees, err
}

// openGroup opens a tree that holds one group.
func openGroup(at string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, at, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", at, err)
	}
	f := os.NewFile(uintptr(fd), at)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		f.Close()
		return nil, fmt.Errorf("protect %s: %w", at, err)
	}
	return f, nil
}

// groupsFolder is a file system that has nothing but empty folders of these names.
func groupsFolder(names []string) (*os.File, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "mode", "755"); err != nil {
		return nil, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, err
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "tmpfs")
	for _, name := range names {
		if err := unix.Mkdirat(fd, name, 0o755); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}
