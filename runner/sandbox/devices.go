//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/hodbuild/hod/layers/rootfs"
)

// standardDevices are the nodes that every container has.
var standardDevices = []specs.LinuxDevice{
	{Path: "/dev/null", Type: "c", Major: 1, Minor: 3}, {Path: "/dev/zero", Type: "c", Major: 1, Minor: 5},
	{Path: "/dev/full", Type: "c", Major: 1, Minor: 7}, {Path: "/dev/random", Type: "c", Major: 1, Minor: 8},
	{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9}, {Path: "/dev/tty", Type: "c", Major: 5, Minor: 0},
}

// deviceLinks are the links in every /dev.
var deviceLinks = []struct{ name, to string }{
	{"/dev/fd", "/proc/self/fd"}, {"/dev/stdin", "/proc/self/fd/0"}, {"/dev/stdout", "/proc/self/fd/1"},
	{"/dev/stderr", "/proc/self/fd/2"}, {"/dev/ptmx", "pts/ptmx"}, {"/dev/core", "/proc/kcore"},
}

func (c *compiler) allDevices() []specs.LinuxDevice {
	list := append([]specs.LinuxDevice{}, standardDevices...)
	return append(list, c.spec.Linux.Devices...)
}

// gatherDevices opens the host's nodes: a user namespace may not make its own.
func (c *compiler) gatherDevices() error {
	standard := len(standardDevices)
	for i, d := range c.allDevices() {
		if i >= standard && c.mapsOwners() {
			if err := c.giveDevice(d); err != nil {
				return err
			}
			continue
		}
		host := d.Path
		if i >= standard {
			host = hostNode(d)
		}
		fd := c.result(c.call("open device "+d.Path, unix.SYS_OPEN_TREE, atCWD, host, openTreeFlag))
		c.devices = append(c.devices, gathered{target: d.Path, fd: fd, file: true, strict: true})
	}
	return nil
}

// hostNode is where the host has a device: at the same path, or where the kernel
// says.
func hostNode(d specs.LinuxDevice) string {
	var st unix.Stat_t
	if unix.Stat(d.Path, &st) == nil && int64(unix.Major(st.Rdev)) == d.Major && int64(unix.Minor(st.Rdev)) == d.Minor {
		return d.Path
	}
	kind := "char"
	if d.Type == "b" {
		kind = "block"
	}
	event, _ := os.ReadFile(fmt.Sprintf("/sys/dev/%s/%d:%d/uevent", kind, d.Major, d.Minor))
	for line := range strings.Lines(string(event)) {
		if name, ok := strings.CutPrefix(line, "DEVNAME="); ok {
			return "/dev/" + strings.TrimSpace(name)
		}
	}
	return d.Path
}

// giveDevice makes a node in a file system of the parent's, owned by who owns it
// inside, and lets the child mount it: so who is root in the user namespace may
// use a device that was given, and no other.
func (c *compiler) giveDevice(d specs.LinuxDevice) error {
	mode, perm, err := deviceMode(d)
	if err != nil {
		return err
	}
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make device %q: %w", d.Path, err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("make device %q: %w", d.Path, err)
	}
	dir, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return fmt.Errorf("make device %q: %w", d.Path, err)
	}
	defer unix.Close(dir)
	var uid, gid uint32
	if d.UID != nil && d.GID != nil {
		uid, gid = *d.UID, *d.GID
	}
	err = unix.Mknodat(dir, "node", mode, int(unix.Mkdev(uint32(d.Major), uint32(d.Minor))))
	err = errors.Join(err, unix.Fchownat(dir, "node", outsideOf(c.o.UIDs, uid), outsideOf(c.o.GIDs, gid), 0))
	err = errors.Join(err, unix.Fchmodat(dir, "node", perm, 0))
	if err != nil {
		return fmt.Errorf("make device %q: %w", d.Path, err)
	}
	var fd int
	err = rootfs.WithTree(dir, func() (err error) {
		fd, err = unix.OpenTree(dir, "node", openTreeFlag)
		return err
	})
	if err != nil {
		return fmt.Errorf("make device %q: %w", d.Path, err)
	}
	f := os.NewFile(uintptr(fd), d.Path)
	c.own = append(c.own, f)
	c.inherit(f)
	c.devices = append(c.devices, gathered{target: d.Path, fd: fd, file: true, strict: true})
	return nil
}

// outsideOf is an id of the user namespace as the parent knows it.
func outsideOf(ranges []Range, id uint32) int {
	for _, r := range ranges {
		if id >= r.Inside && id-r.Inside < r.Count {
			return int(r.Outside + id - r.Inside)
		}
	}
	return int(id)
}

func deviceMode(d specs.LinuxDevice) (mode, perm uint32, err error) {
	kind, ok := map[string]uint32{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}[d.Type]
	if !ok {
		return 0, 0, fmt.Errorf("device %q: unknown type %q", d.Path, d.Type)
	}
	perm = 0o666
	if d.FileMode != nil {
		perm = uint32(d.FileMode.Perm())
	}
	return kind | perm, perm, nil
}

// ownDev says whether /dev is a file system of the container's own; else the
// caller gave a /dev (a bind of the host's) and nothing is made in it.
func (c *compiler) ownDev() bool {
	for _, m := range c.spec.Mounts {
		if m.Destination == "/dev" {
			return m.Type == "tmpfs"
		}
	}
	return false
}

func (c *compiler) makeDevices() error {
	if !c.ownDev() {
		return nil
	}
	for _, d := range c.devices {
		c.place("mount device "+d.target, d.fd, c.target(d.target, true, true))
	}
	if !c.userns {
		if err := c.makeNodes(); err != nil {
			return err
		}
	}
	for _, l := range deviceLinks {
		c.call("make link "+l.name, unix.SYS_SYMLINKAT, l.to, atCWD, l.name).accept(unix.EEXIST)
	}
	return nil
}

func (c *compiler) makeNodes() error {
	for _, d := range c.allDevices() {
		mode, _, err := deviceMode(d)
		if err != nil {
			return err
		}
		what := "make device " + d.Path
		c.call(what, unix.SYS_MKNODAT, atCWD, d.Path, int(mode), int(unix.Mkdev(uint32(d.Major), uint32(d.Minor))))
		if d.UID != nil && d.GID != nil {
			c.call(what, unix.SYS_FCHOWNAT, atCWD, d.Path, int(*d.UID), int(*d.GID), 0)
		}
	}
	return nil
}

// terminal opens a terminal in the container's own devpts, sends its master to
// the parent and makes the slave the stdio and controlling terminal.
func (c *compiler) terminal() error {
	if !c.o.Terminal {
		return nil
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make terminal socket: %w", err)
	}
	placeholder, err := os.OpenFile("/dev/null", os.O_RDONLY, 0)
	if err != nil {
		unix.Close(pair[0])
		unix.Close(pair[1])
		return fmt.Errorf("make terminal socket: %w", err)
	}
	c.own = append(c.own, placeholder)
	ours, theirs := os.NewFile(uintptr(pair[0]), "terminal"), os.NewFile(uintptr(pair[1]), "terminal")
	c.own = append(c.own, theirs)
	c.console = ours
	c.inherit(theirs)
	c.inherit(placeholder)
	master := c.result(c.open("open the terminal", "/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY, true))
	c.call("unlock the terminal", unix.SYS_IOCTL, master, int(unix.TIOCSPTLCK), make([]byte, 4))
	if s := c.spec.Process.ConsoleSize; s != nil && s.Height > 0 {
		size := []byte{byte(s.Height), byte(s.Height >> 8), byte(s.Width), byte(s.Width >> 8), 0, 0, 0, 0}
		c.call("size the terminal", unix.SYS_IOCTL, master, int(unix.TIOCSWINSZ), size)
	}
	peer := c.result(c.call("open the terminal's other side", unix.SYS_IOCTL, master, int(unix.TIOCGPTPEER), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC))
	fixed := int(placeholder.Fd())
	c.call("send the terminal", unix.SYS_DUP3, master, fixed, unix.O_CLOEXEC)
	c.call("send the terminal", unix.SYS_SENDMSG, int(theirs.Fd()), c.message(fixed), 0)
	for i := range 3 {
		c.call("use the terminal", unix.SYS_DUP3, peer, i, 0)
	}
	u := c.spec.Process.User
	c.call("own the terminal", unix.SYS_FCHOWN, 0, int(u.UID), -1).accept(unix.EINVAL, unix.EPERM)
	c.call("control the terminal", unix.SYS_IOCTL, 0, int(unix.TIOCSCTTY), 0)
	if c.ownDev() {
		fd := c.result(c.call("mount /dev/console", unix.SYS_OPEN_TREE, peer, "", openTreeFlag|atEmptyPath))
		c.place("mount /dev/console", fd, c.target("/dev/console", true, true))
	}
	return nil
}

// message is a msghdr of one byte and one descriptor.
func (p *Program) message(fd int) data {
	one := p.bytes([]byte{0}, "0")
	iov := buffer{bytes: make([]byte, 16), relocs: map[int]data{0: one}}
	iov.bytes[8] = 1
	p.buffers = append(p.buffers, iov)
	iovData := data(len(p.buffers) - 1)
	control := p.bytes(unix.UnixRights(fd), "rights")
	msg := buffer{bytes: make([]byte, 56), relocs: map[int]data{16: iovData, 32: control}, show: fmt.Sprintf("{rights=[%d]}", fd)}
	msg.bytes[24] = 1
	msg.bytes[40] = byte(len(p.buffers[control].bytes))
	p.buffers = append(p.buffers, msg)
	return data(len(p.buffers) - 1)
}
