//go:build linux

package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
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
	"noatime": {unix.MOUNT_ATTR_NOATIME, 0}, "nodiratime": {unix.MOUNT_ATTR_NODIRATIME, 0},
	"strictatime": {unix.MOUNT_ATTR_STRICTATIME, 0}, "relatime": {0, 0}, "defaults": {0, 0},
	"nosymfollow": {unix.MOUNT_ATTR_NOSYMFOLLOW, 0},
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
		if m.ReadOnly {
			c.setattr("write-protect "+m.Target, int(m.FD.Fd()), unix.MOUNT_ATTR_RDONLY, 0, 0, true)
		}
		c.mounts = append(c.mounts, gathered{target: m.Target, fd: int(m.FD.Fd()), file: m.File})
	}
	if c.userns {
		return c.gatherDevices()
	}
	return nil
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
	fd, err := c.tree("open bind source "+m.Source, m.Source, flags)
	if err != nil {
		return fmt.Errorf("bind mount at %q: %w", m.Destination, err)
	}
	var set, clear, propagation uint64
	if c.o.NoDev && c.userns {
		set = unix.MOUNT_ATTR_NODEV
	}
	for _, o := range m.Options {
		if a, ok := mountAttrs[o]; ok {
			set, clear = set&^a.clear|a.set, clear|a.clear
		} else if p, ok := propagations[o]; ok {
			propagation = p
		} else if o != "bind" && o != "rbind" {
			return fmt.Errorf("bind mount at %q: unknown option %q", m.Destination, o)
		}
	}
	if set != 0 || clear != 0 || propagation != 0 {
		c.setattr("set options of "+m.Destination, fd, set, clear&^set, propagation, flags&unix.AT_RECURSIVE != 0)
	}
	c.mounts = append(c.mounts, gathered{target: m.Destination, fd: fd, file: !info.IsDir()})
	return nil
}

// mapsOwners says that root of the machine starts a user namespace: what the
// parent makes and opens is then shown with the owners of the inside.
func (c *compiler) mapsOwners() bool { return c.userns && !c.o.Unprivileged && !c.o.SameIDs }

// tree opens a copy of a host's tree. Where root starts a user namespace the
// parent opens it (the child may not walk there) and maps its owners, so that
// files of the host's root are those of the container's root and nothing on
// disk is chowned.
func (c *compiler) tree(what, source string, flags int) (any, error) {
	if !c.userns || c.o.Unprivileged || c.o.SameIDs && !c.o.ParentOpens {
		return c.result(c.call(what, unix.SYS_OPEN_TREE, atCWD, source, flags)), nil
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
	strict := slices.Contains([]string{"proc", "sysfs", "devpts", "mqueue", "cgroup2"}, m.Type) ||
		m.Destination == "/dev" || strings.HasPrefix(m.Destination, "/dev/")
	c.mounts = append(c.mounts, gathered{target: m.Destination, fd: fd, strict: strict})
}

// filesystem emits fsopen, the options and fsmount. Root makes a tmpfs itself
// and gives it to the root of the user namespace: one that is made inside shows
// that root's id outside among its options, which no two commands have in common.
func (c *compiler) filesystem(kind, source, target string, options []string) any {
	if kind == "tmpfs" && c.mapsOwners() {
		f, err := c.ownTmpfs(options)
		if err != nil {
			c.failed = errors.Join(c.failed, fmt.Errorf("make tmpfs for %s: %w", target, err))
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
		fd, err := c.tree("open root "+r.Source, r.Source, openTreeFlag|unix.AT_RECURSIVE)
		if err != nil {
			return err
		}
		c.root = fd
	default:
		return fmt.Errorf("compile sandbox: no root")
	}
	return nil
}

// overlay mounts layers. lowerdir+ came with Linux 6.7; older kernels take one
// string of all layers.
func (c *compiler) overlay(r Root) slot {
	const what = "mount the overlay"
	fs := c.result(c.call(what, unix.SYS_FSOPEN, "overlay", unix.FSOPEN_CLOEXEC))
	set := func(key, value string) *entry {
		return c.call(what+" with "+key, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_STRING, key, value, 0)
	}
	first := c.here()
	for i, l := range r.Lower {
		e := set("lowerdir+", l)
		if i == 0 {
			e.accept(unix.EINVAL)
		}
	}
	done := c.jump("skip the old form")
	c.entries[first].onError = c.here()
	set("lowerdir", strings.Join(r.Lower, ":"))
	c.entries[done].jump = c.here()
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

// attach moves the gathered mounts to their targets, making what is missing.
func (c *compiler) attach() error {
	for _, m := range c.mounts {
		to := c.target(m.target, m.file, m.strict)
		c.place("mount "+m.target, m.fd, to)
	}
	return nil
}

func (c *compiler) place(what string, fd, to any) *entry {
	return c.call(what, unix.SYS_MOVE_MOUNT, fd, "", to, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// open emits openat2 inside the root.
func (c *compiler) open(what, name string, flags int, strict bool) *entry {
	how := make([]byte, 24)
	resolve := uint64(unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS)
	if strict {
		resolve |= unix.RESOLVE_NO_SYMLINKS
	}
	binary.NativeEndian.PutUint64(how, uint64(flags|unix.O_CLOEXEC))
	binary.NativeEndian.PutUint64(how[16:], resolve)
	return c.call(what, unix.SYS_OPENAT2, atCWD, name, c.bytes(how, fmt.Sprintf("{flags=%#x resolve=%#x}", flags, resolve)), len(how))
}

// target emits the lookup of a mount point and, where it is missing, its
// creation with mode 0755, one folder after the other.
func (c *compiler) target(name string, file, strict bool) slot {
	name = path.Clean("/" + name)
	flags := unix.O_PATH
	if !file {
		flags |= unix.O_DIRECTORY
	}
	what := "find mount point " + name
	first := c.here()
	fd := c.result(c.open(what, name, flags, strict).accept(unix.ENOENT))
	c.create(name, file, strict)
	e := c.open(what, name, flags, strict)
	e.out = fd
	c.entries[first].jump = c.here()
	return fd
}

func (c *compiler) create(name string, file, strict bool) {
	parts := strings.Split(strings.TrimPrefix(name, "/"), "/")
	at := "/"
	for i, base := range parts {
		what := "make mount point " + path.Join(at, base)
		parent := c.result(c.open(what, at, unix.O_PATH|unix.O_DIRECTORY, strict))
		if file && i == len(parts)-1 {
			c.call(what, unix.SYS_MKNODAT, parent, base, unix.S_IFREG|0o644, 0).accept(unix.EEXIST)
		} else {
			c.call(what, unix.SYS_MKDIRAT, parent, base, 0o755).accept(unix.EEXIST)
		}
		at = path.Join(at, base)
		c.note(at)
	}
}

// note follows the making of a mount point: it records that it was made, and is
// jumped over when it was there.
func (c *compiler) note(made string) {
	if slices.ContainsFunc(c.mounts, func(m gathered) bool { return strings.HasPrefix(made, path.Clean(m.target)+"/") }) {
		return // in another mount and not in the root
	}
	m := madePoint{made, slot(c.slots)}
	c.slots++
	c.Program.made = append(c.Program.made, m)
	c.entries[c.here()-1].onError = c.here() + 1
	c.entries = append(c.entries, entry{kind: kindNote, what: "made " + made, args: [6]any{1}, out: m.slot, onError: -1, jump: -1})
}
