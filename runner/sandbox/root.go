//go:build linux

package sandbox

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hodbuild/hod/layers/rootfs"
)

// enterRoot mounts the root over the host's, pivots and drops the host's tree.
func (c *compiler) enterRoot() error {
	if err := c.openRoot(); err != nil {
		return err
	}
	c.call("mount the root", unix.SYS_MOVE_MOUNT, c.root, "", atCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH)
	c.call("enter the root", unix.SYS_FCHDIR, c.root)
	c.call("pivot into the root", unix.SYS_PIVOT_ROOT, ".", ".")
	c.call("drop the host's tree", unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
	c.call("enter the root", unix.SYS_CHDIR, "/")
	return nil
}

func (c *compiler) openRoot() error {
	r := c.o.Root
	switch {
	case r.Detached != nil:
		c.inherit(r.Detached)
		c.root = int(r.Detached.Fd())
	case r.Type == "overlay":
		c.root = c.overlay(r)
	case r.Source != "":
		fd, err := c.tree("open root "+r.Source, r.Source, openTreeFlag|unix.AT_RECURSIVE, false)
		if err != nil {
			return err
		}
		c.root = fd
	default:
		return fmt.Errorf("compile sandbox: no root")
	}
	return nil
}

// overlay mounts layers, named as this kernel takes them.
func (c *compiler) overlay(r Root) slot {
	const what = "mount the overlay"
	fs := c.result(c.call(what, unix.SYS_FSOPEN, "overlay", unix.FSOPEN_CLOEXEC))
	set := func(key, value string) *entry {
		return c.call(what+" with "+key, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_STRING, key, value, 0)
	}
	if rootfs.NamesLayersApart() {
		for _, l := range r.Lower {
			set("lowerdir+", l)
		}
	} else {
		set("lowerdir", c.lowerNames(r.Lower))
	}
	if r.Upper != "" {
		set("upperdir", r.Upper)
		set("workdir", r.Work)
	}
	var attrs uint64
	for _, o := range r.Options {
		if a, ok := mountAttrs[o]; ok {
			attrs |= a.set
		} else if key, value, ok := strings.Cut(o, "="); ok {
			set(key, value)
		} else {
			c.call(what+" with "+o, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_FLAG, o, 0, 0)
		}
	}
	c.call(what, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	return c.result(c.call(what, unix.SYS_FSMOUNT, fs, unix.FSMOUNT_CLOEXEC, int(attrs)))
}

// lowerNames is a list of layers for lowerdir, of which fsconfig takes 255 bytes:
// it names descriptors, seen from the folder of descriptors.
func (c *compiler) lowerNames(lower []string) string {
	const (
		what  = "open layers for lowerdir"
		first = 300 // above what the child inherits
	)
	short := make([]string, len(lower))
	for i, l := range lower {
		fd := c.result(c.call(what, unix.SYS_OPEN_TREE, atCWD, l, unix.OPEN_TREE_CLOEXEC))
		c.call(what, unix.SYS_DUP3, fd, first+i, unix.O_CLOEXEC)
		short[i] = strconv.Itoa(first + i)
	}
	c.call(what, unix.SYS_CHDIR, "/proc/self/fd")
	return strings.Join(short, ":")
}
