//go:build linux

package sandbox

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

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
