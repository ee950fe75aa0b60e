//go:build linux

package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// gathered is a detached mount that waits for its place.
type gathered struct {
	target string
	fd     any  // int or slot
	file   bool // a single file
	strict bool // no symlink on the way to the target
}

const (
	atEmptyPath  = unix.AT_EMPTY_PATH
	openTreeFlag = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
)

// attributes of mounts by the name of the option.
var mountAttrs = map[string]struct{ set, clear uint64 }{
	"ro": {unix.MOUNT_ATTR_RDONLY, 0}, "rw": {0, unix.MOUNT_ATTR_RDONLY},
	"nosuid": {unix.MOUNT_ATTR_NOSUID, 0}, "suid": {0, unix.MOUNT_ATTR_NOSUID},
	"nodev": {unix.MOUNT_ATTR_NODEV, 0}, "dev": {0, unix.MOUNT_ATTR_NODEV},
	"noexec": {unix.MOUNT_ATTR_NOEXEC, 0}, "exec": {0, unix.MOUNT_ATTR_NOEXEC},
	"noatime": {unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR__ATIME}, "strictatime": {unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR__ATIME},
	"atime": {0, unix.MOUNT_ATTR__ATIME}, "relatime": {0, unix.MOUNT_ATTR__ATIME},
	"nodiratime": {unix.MOUNT_ATTR_NODIRATIME, 0}, "diratime": {0, unix.MOUNT_ATTR_NODIRATIME},
	"nosymfollow": {unix.MOUNT_ATTR_NOSYMFOLLOW, 0}, "symfollow": {0, unix.MOUNT_ATTR_NOSYMFOLLOW}, "defaults": {0, 0},
}

var propagations = map[string]uint64{
	"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE, "slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE,
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED, "unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE,
}

// gather makes every mount of the specification, detached.
func (c *compiler) gather() error {
	for _, m := range c.spec.Mounts {
		if m.Type == "" && hasBind(m.Options) {
			m.Type = "bind"
		}
		if !path.IsAbs(m.Destination) {
			return fmt.Errorf("mount at %q: the target is not absolute", m.Destination)
		}
		var err error
		switch {
		case m.Type == "bind" || hasBind(m.Options):
			err = c.gatherBind(m)
		default:
			c.gatherFS(m)
		}
		if err != nil {
			return err
		}
	}
	for _, m := range c.o.Mounts {
		c.inherit(m.FD)
		if m.Map && c.mapsOwners() {
			c.idmap = append(c.idmap, mapped{m.FD, false})
		}
		var attrs uint64
		if c.o.NoDev && c.userns {
			attrs |= unix.MOUNT_ATTR_NODEV // an image may hold nodes of the host's devices
		}
		if m.ReadOnly {
			attrs |= unix.MOUNT_ATTR_RDONLY
		}
		if attrs != 0 {
			c.setattr("protect "+m.Target, int(m.FD.Fd()), attrs, 0, 0, true)
		}
		c.insert(gathered{target: m.Target, fd: int(m.FD.Fd()), file: m.File})
	}
	if !c.ownDev() { // what is /dev/null later may be the image's (CVE-2025-31133): masks are of the host's
		for range c.spec.Linux.MaskedPaths {
			c.nulls = append(c.nulls, c.clone("open /dev/null for a mask", "/dev/null", openTreeFlag, false))
		}
	}
	if c.peers {
		c.peers = false
		c.partWithHost()
	}
	if c.userns {
		return c.gatherDevices()
	}
	return nil
}

// staysRelated says that a bind asks to hear of what is mounted in its source, or
// to be heard there.
func staysRelated(m specs.Mount) bool {
	return (m.Type == "bind" || hasBind(m.Options)) && slices.ContainsFunc(m.Options, func(o string) bool {
		return propagations[o] == unix.MS_SHARED || propagations[o] == unix.MS_SLAVE
	})
}

// insert gives a mount its place before all that lies below its target, which it would hide.
func (c *compiler) insert(g gathered) {
	i := slices.IndexFunc(c.mounts, func(m gathered) bool { return strings.HasPrefix(path.Clean(m.target), path.Clean(g.target)+"/") })
	if i < 0 {
		i = len(c.mounts)
	}
	c.mounts = slices.Insert(c.mounts, i, g)
}

func hasBind(options []string) bool {
	return slices.Contains(options, "bind") || slices.Contains(options, "rbind")
}

func (c *compiler) gatherBind(m specs.Mount) error {
	info, err := os.Stat(m.Source)
	if err != nil {
		return fmt.Errorf("bind mount at %q: %w", m.Destination, err)
	}
	flags := openTreeFlag
	if !slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind") {
		flags |= unix.AT_RECURSIVE
	}
	var set, clear, propagation uint64
	if c.o.NoDev && c.userns {
		set = unix.MOUNT_ATTR_NODEV
	}
	recursive := flags & unix.AT_RECURSIVE
	for _, o := range m.Options {
		a, ok := mountAttrs[o]
		if whole, found := mountAttrs[strings.TrimPrefix(o, "r")]; found && !ok { // rro, rnosuid …
			a, ok, recursive = whole, true, unix.AT_RECURSIVE
		}
		if ok {
			set, clear = set&^a.clear|a.set, clear|a.clear
		} else if p, ok := propagations[o]; ok {
			propagation = p
		} else if o != "bind" && o != "rbind" && !ofFileSystem(o) {
			return fmt.Errorf("bind mount at %q: unknown option %q", m.Destination, o)
		}
	}
	fd, err := c.tree("open bind source "+m.Source, m.Source, flags, propagation == unix.MS_SHARED || propagation == unix.MS_SLAVE)
	if err != nil {
		return fmt.Errorf("bind mount at %q: %w", m.Destination, err)
	}
	if set != 0 || clear != 0 || propagation != 0 {
		c.setattr("set options of "+m.Destination, fd, set, clear, propagation, recursive != 0)
	}
	c.mounts = append(c.mounts, gathered{target: m.Destination, fd: fd, file: !info.IsDir()})
	return nil
}

// ofFileSystem says whether an option is for the making of a file system. A bind
// has one that is made, and mount(2) passes over them.
func ofFileSystem(option string) bool {
	key, _, valued := strings.Cut(option, "=")
	return valued && slices.Contains([]string{"mode", "size", "uid", "gid", "nr_inodes"}, key)
}

// mapsOwners says that root of the machine starts a user namespace: what the
// parent makes and opens is then shown with the owners of the inside.
func (c *compiler) mapsOwners() bool { return c.userns && !c.o.Unprivileged && !c.o.SameIDs }

// tree opens a copy of a host's tree. Where root starts a user namespace the
// parent opens it (the child may not walk there) and maps its owners, so that
// files of the host's root are those of the container's root and nothing on
// disk is chowned. And it opens what shall stay related to the host's mount
// (peer) where the child cannot: without a user namespace the child opens it and
// parts with the host only then, since the kernel lists mounts in the order in
// which they were made (6.8), and that is the specification's.
func (c *compiler) tree(what, source string, flags int, peer bool) (any, error) {
	if !c.userns && (c.peers || !peer) || c.o.Unprivileged || c.o.SameIDs && !c.o.ParentOpens && !peer {
		return c.clone(what, source, flags, peer), nil
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, uint(flags))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	f := os.NewFile(uintptr(fd), source)
	c.own = append(c.own, f)
	c.inherit(f)
	if c.mapsOwners() {
		c.idmap = append(c.idmap, mapped{f, flags&unix.AT_RECURSIVE != 0})
	}
	return fd, nil
}

// clone emits a copy of a tree. One that the child makes before it parts with the
// host is a stranger there only if that is said of itself.
func (c *compiler) clone(what, source string, flags int, peer bool) slot {
	fd := c.result(c.call(what, unix.SYS_OPEN_TREE, atCWD, source, flags))
	if c.peers && !peer {
		c.setattr("part "+source+" with the host", fd, 0, 0, unix.MS_PRIVATE, true)
	}
	return fd
}

// atCWD is AT_FDCWD as an argument.
const atCWD = unix.AT_FDCWD

// setattr emits mount_setattr on a descriptor.
func (c *compiler) setattr(what string, fd any, set, clear, propagation uint64, recursive bool) *entry {
	attr := make([]byte, 32)
	binary.NativeEndian.PutUint64(attr, set)
	binary.NativeEndian.PutUint64(attr[8:], clear)
	binary.NativeEndian.PutUint64(attr[16:], propagation)
	flags := atEmptyPath
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	show := fmt.Sprintf("{set=%#x clear=%#x propagation=%#x}", set, clear, propagation)
	return c.call(what, unix.SYS_MOUNT_SETATTR, fd, "", flags, c.bytes(attr, show), len(attr))
}
