//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// gatherFS makes a file system of its own type. sysfs shows the network that it
// is mounted in: where that is another's, the parent mounts it (see own), or it
// is a bind of the host's.
func (c *compiler) gatherFS(m specs.Mount) {
	if m.Type == "sysfs" && c.mapsOwners() && !c.private[unix.CLONE_NEWNET] {
		fd, err := unix.Open("/dev/null", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err == nil {
			c.sysfs = os.NewFile(uintptr(fd), "sysfs")
			c.own = append(c.own, c.sysfs)
			c.inherit(c.sysfs)
			c.mounts = append(c.mounts, gathered{target: m.Destination, fd: fd, strict: true})
			return
		}
	}
	if m.Type == "sysfs" && c.userns && !c.private[unix.CLONE_NEWNET] {
		fd := c.result(c.call("open the host's /sys", unix.SYS_OPEN_TREE, atCWD, "/sys", openTreeFlag|unix.AT_RECURSIVE))
		attrs := uint64(unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC)
		c.setattr("write-protect /sys", fd, attrs, 0, 0, true)
		c.mounts = append(c.mounts, gathered{target: m.Destination, fd: fd, strict: true})
		return
	}
	fd := c.filesystem(m.Type, m.Source, m.Destination, m.Options)
	if m.Type == "proc" && m.Destination == "/proc" {
		c.proc = fd
	}
	for _, o := range m.Options {
		if p := propagations[o]; p != 0 && p != unix.MS_PRIVATE { // each is born private
			c.setattr("set the propagation of "+m.Destination, fd, 0, 0, p, false)
		}
	}
	strict := slices.Contains([]string{"proc", "sysfs", "devpts", "mqueue", "cgroup2"}, m.Type) ||
		m.Destination == "/dev" || strings.HasPrefix(m.Destination, "/dev/")
	c.mounts = append(c.mounts, gathered{target: m.Destination, fd: fd, strict: strict})
}

// filesystem emits fsopen, the options and fsmount. Root makes a tmpfs itself
// and gives it to the root of the user namespace: one that is made inside shows
// that root's id outside among its options, which no two commands have in common.
func (c *compiler) filesystem(kind, source, target string, options []string) any {
	if kind == "tmpfs" && slices.Contains(options, copyUp) {
		fd, err := c.copiedUp(target, options)
		if err != nil && c.failed == nil {
			c.failed = err
		}
		return fd
	}
	if kind == "tmpfs" && c.mapsOwners() {
		f, err := c.ownTmpfs(options)
		if err != nil {
			if c.failed == nil { // what fails for one fails for all
				c.failed = fmt.Errorf("make tmpfs for %s: %w", target, err)
			}
			return -1
		}
		return int(f.Fd())
	}
	what := fmt.Sprintf("make %s for %s", kind, target)
	fs := c.result(c.call(what, unix.SYS_FSOPEN, kind, unix.FSOPEN_CLOEXEC))
	if source != "" {
		c.call(what, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_STRING, "source", source, 0)
	}
	var attrs uint64
	for _, o := range options {
		if a, ok := mountAttrs[o]; ok {
			attrs = attrs&^a.clear | a.set
			continue
		}
		if _, ok := propagations[o]; ok {
			continue
		}
		key, value, valued := strings.Cut(o, "=")
		if (key == "gid" || key == "uid") && c.userns && !c.mapped(key, value) {
			continue // the id has no name inside; the namespace's root owns it
		}
		if valued {
			c.call(what+" with "+o, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_STRING, key, value, 0)
		} else {
			c.call(what+" with "+o, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_FLAG, key, 0, 0)
		}
	}
	c.call(what, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	return c.result(c.call(what, unix.SYS_FSMOUNT, fs, unix.FSMOUNT_CLOEXEC, int(attrs)))
}

func (c *compiler) ownTmpfs(options []string) (*os.File, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fs)
	err = unix.FsconfigSetString(fs, "source", "tmpfs")
	var attrs uint64
	owner := map[string]uint32{"uid": 0, "gid": 0}
	for _, o := range options {
		key, value, valued := strings.Cut(o, "=")
		id, number := strconv.ParseUint(value, 10, 32)
		_, propagation := propagations[o]
		if a, ok := mountAttrs[o]; ok {
			attrs = attrs&^a.clear | a.set
		} else if _, ok := owner[key]; ok && number == nil {
			owner[key] = uint32(id)
		} else if valued {
			err = errors.Join(err, named(o, unix.FsconfigSetString(fs, key, value)))
		} else if !propagation {
			err = errors.Join(err, named(o, unix.FsconfigSetFlag(fs, key)))
		}
	}
	if err = errors.Join(err, unix.FsconfigCreate(fs)); err != nil {
		return nil, err
	}
	// Read-only comes after the change of owner.
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, int(attrs&^unix.MOUNT_ATTR_RDONLY))
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "tmpfs")
	c.own = append(c.own, f)
	c.inherit(f)
	err = unix.Fchownat(fd, "", outsideOf(c.o.UIDs, owner["uid"]), outsideOf(c.o.GIDs, owner["gid"]), unix.AT_EMPTY_PATH)
	if err == nil && attrs&unix.MOUNT_ATTR_RDONLY != 0 {
		err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	return f, err
}

func named(option string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("option %s: %w", option, err)
}

// mapped says whether an id in an option exists inside the user namespace.
func (c *compiler) mapped(key, value string) bool {
	ranges := c.o.UIDs
	if key == "gid" {
		ranges = c.o.GIDs
	}
	var id uint32
	if _, err := fmt.Sscan(value, &id); err != nil {
		return true
	}
	return slices.ContainsFunc(ranges, func(r Range) bool { return id >= r.Inside && id-r.Inside < r.Count })
}
