//go:build linux

package sandbox

import (
	"cmp"
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

// loopback raises the interface that a new network namespace has.
func (c *compiler) loopback() {
	if !c.private[unix.CLONE_NEWNET] {
		return
	}
	const what = "raise the loopback interface"
	socket := c.result(c.call(what, unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	request := make([]byte, 40) // struct ifreq
	copy(request, "lo")
	binary.NativeEndian.PutUint16(request[unix.IFNAMSIZ:], unix.IFF_UP)
	c.call(what, unix.SYS_IOCTL, socket, int(unix.SIOCSIFFLAGS), c.bytes(request, "{lo up}"))
}

// identity sets host name, domain and sysctls.
func (c *compiler) identity() error {
	c.loopback()
	named := c.private[unix.CLONE_NEWUTS] || c.joins&unix.CLONE_NEWUTS != 0
	if h := c.spec.Hostname; h != "" && named {
		c.call("set the host name", unix.SYS_SETHOSTNAME, h, len(h))
	}
	if d := c.spec.Domainname; d != "" && named {
		c.call("set the domain name", unix.SYS_SETDOMAINNAME, d, len(d))
	}
	names := make([]string, 0, len(c.spec.Linux.Sysctl))
	for n := range c.spec.Linux.Sysctl {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if err := c.sysctl(n, c.spec.Linux.Sysctl[n]); err != nil {
			return err
		}
	}
	return nil
}

// sysctl writes through the container's own proc, reached by its descriptor and
// not by a path that the image could have prepared.
func (c *compiler) sysctl(name, value string) error {
	if name == "net.ipv4.ping_group_range" && c.userns {
		value = c.mappedGroups(value)
	}
	file := "sys/" + strings.ReplaceAll(name, ".", "/")
	if c.proc == nil || strings.Contains(name, "/") || strings.Contains(file, "//") {
		return fmt.Errorf("sysctl %q: cannot be set here", name)
	}
	how := make([]byte, 24)
	binary.NativeEndian.PutUint64(how, unix.O_WRONLY|unix.O_CLOEXEC)
	binary.NativeEndian.PutUint64(how[16:], unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
	fd := c.result(c.call("open sysctl "+name, unix.SYS_OPENAT2, c.proc, file, c.bytes(how, "{O_WRONLY}"), len(how)))
	c.call("set sysctl "+name, unix.SYS_WRITE, fd, value, len(value))
	return nil
}

// mappedGroups cuts a range of groups to those that exist in the user namespace;
// the kernel refuses others.
func (c *compiler) mappedGroups(value string) string {
	var low, high, top uint32
	if _, err := fmt.Sscan(value, &low, &high); err != nil || len(c.o.GIDs) == 0 {
		return value
	}
	for _, r := range c.o.GIDs {
		if r.Inside <= low && low-r.Inside < r.Count {
			top = r.Inside + r.Count - 1
		}
	}
	return fmt.Sprintf("%d %d", low, min(high, top))
}

// maskPaths covers files with /dev/null and folders with one empty read-only
// tmpfs. Under /proc and /sys the host shows which of the two a path is, and
// what this kernel does not have needs no mask.
func (c *compiler) maskPaths() error {
	empty := ""
	for _, p := range c.spec.Linux.MaskedPaths {
		p = path.Clean(p)
		info, err := os.Stat(p)
		kernel := strings.HasPrefix(p, "/proc/") || strings.HasPrefix(p, "/sys/")
		switch {
		case !kernel:
			c.maskUnknown(p)
		case err != nil && errors.Is(err, os.ErrNotExist):
		case err == nil && info.IsDir() && empty != "":
			c.cover(p, unix.O_DIRECTORY, func() any {
				return c.result(c.call("mask "+p, unix.SYS_OPEN_TREE, atCWD, empty, openTreeFlag))
			})
		case err == nil && info.IsDir():
			empty = p
			c.cover(p, unix.O_DIRECTORY, func() any { return c.emptyFolder(p) })
		default:
			c.cover(p, 0, func() any { return c.nullFile(p) })
		}
	}
	return nil
}

func (c *compiler) emptyFolder(p string) any {
	return c.filesystem("tmpfs", "tmpfs", p, []string{"ro", "nosuid", "nodev", "noexec", "size=4k", "nr_inodes=1"})
}

// nullFile clones the container's own /dev/null, which the image cannot have
// prepared: /dev is ours and no program has run yet. Else the host's was kept.
func (c *compiler) nullFile(p string) slot {
	if len(c.nulls) > 0 {
		kept := c.nulls[0]
		c.nulls = c.nulls[1:]
		return kept
	}
	return c.result(c.call("mask "+p, unix.SYS_OPEN_TREE, atCWD, "/dev/null", openTreeFlag))
}

// cover puts what with makes over p, if p is there.
func (c *compiler) cover(p string, flags int, with func() any) {
	first := c.here()
	target := c.result(c.open("mask "+p, p, unix.O_PATH|flags, false).accept(unix.ENOENT))
	c.place("mask "+p, with(), target)
	c.entries[first].onError = c.here()
}

// maskUnknown masks a path of the image: as a folder, else as a file.
func (c *compiler) maskUnknown(p string) {
	first := c.here()
	target := c.result(c.open("mask "+p, p, unix.O_PATH|unix.O_DIRECTORY, false).accept(unix.ENOENT, unix.ENOTDIR))
	c.place("mask "+p, c.emptyFolder(p), target)
	skip := c.jump("masked")
	c.entries[first].onError = c.here()
	c.cover(p, 0, func() any { return c.nullFile(p) })
	c.entries[skip].jump = c.here()
}

// protectPaths mounts paths over themselves, read-only.
func (c *compiler) protectPaths() error {
	for _, p := range c.spec.Linux.ReadonlyPaths {
		what := "write-protect " + p
		first := c.here()
		target := c.result(c.open(what, path.Clean(p), unix.O_PATH, false).accept(unix.ENOENT, unix.ENOTDIR, unix.EACCES))
		tree := c.result(c.call(what, unix.SYS_OPEN_TREE, target, "", openTreeFlag|atEmptyPath|unix.AT_RECURSIVE))
		c.setattr(what, tree, unix.MOUNT_ATTR_RDONLY, 0, 0, false)
		c.place(what, tree, target)
		c.entries[first].onError = c.here()
	}
	return nil
}

// finishRoot sets the root's own attributes: read-only when asked, nosuid under
// no_new_privs (a file capability outside of the bounding set would else make
// execve fail instead of being ignored), nodev where nodes come by mounts.
func (c *compiler) finishRoot() error {
	var set uint64
	if c.spec.Root != nil && c.spec.Root.Readonly {
		set |= unix.MOUNT_ATTR_RDONLY
	}
	if c.spec.Process.NoNewPrivileges {
		set |= unix.MOUNT_ATTR_NOSUID
	}
	if c.o.NoDev && c.userns {
		set |= unix.MOUNT_ATTR_NODEV
	}
	if set != 0 {
		c.setattr("set options of the root", c.root, set, 0, 0, false)
	}
	return c.rootPropagation()
}

// rootPropagation comes last: no root can be pivoted into while it is shared,
// and what is mounted in a shared one becomes shared.
func (c *compiler) rootPropagation() error {
	name := c.spec.Linux.RootfsPropagation
	if name == "" {
		return nil
	}
	p, ok := propagations[name]
	if !ok {
		return fmt.Errorf("propagation of the root: unknown kind %q", name)
	}
	c.setattr("set the root's propagation", c.root, 0, 0, p, strings.HasPrefix(name, "r"))
	return nil
}

// privilege drops what the program shall not have. Seccomp is loaded last with
// no_new_privs, and else while the capability to load it is still there.
func (c *compiler) privilege() error {
	p := c.spec.Process
	caps := p.Capabilities
	if caps == nil {
		caps = &specs.LinuxCapabilities{}
	}
	c.present()
	// Before seccomp: a profile may be older than the call.
	c.call("close descriptors on execve", unix.SYS_CLOSE_RANGE, 3, int(^uint32(0)), unix.CLOSE_RANGE_CLOEXEC)
	c.signals()
	if !c.joining {
		if err := c.appArmor(); err != nil {
			return err
		}
	}
	if err := errors.Join(c.timeNamespace(), c.personality()); err != nil {
		return err
	}
	if p.NoNewPrivileges {
		c.call("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	c.landlock()
	c.lateLimits()
	if !p.NoNewPrivileges {
		c.seccomp()
	}
	if err := c.boundingSet(caps.Bounding); err != nil {
		return err
	}
	c.user(p.User)
	if err := c.capabilities(caps); err != nil {
		return err
	}
	if c.o.Die {
		c.call("die with the parent", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, int(unix.SIGKILL), 0, 0, 0)
	}
	umask := uint32(0o022)
	if p.User.Umask != nil {
		umask = *p.User.Umask
	}
	c.call("set the file mode mask", unix.SYS_UMASK, int(umask))
	if p.NoNewPrivileges {
		c.seccomp()
	}
	return nil
}

// lateLimits lowers what the sandbox itself needs, where nothing is opened any
// more; to raise it takes the parent (prepare).
func (c *compiler) lateLimits() {
	for _, l := range c.limits {
		if l.late {
			limit := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, l.soft), l.hard)
			show := fmt.Sprintf("{soft=%d hard=%d}", l.soft, l.hard)
			c.call("set limit "+l.name, unix.SYS_PRLIMIT64, 0, l.which, c.bytes(limit, show), 0)
		}
	}
}

// inherited are the signals that Go lets be as hod was started with them: ignored by
// nohup, behind an & of a script (the first two), or by the posix_spawn of C libraries,
// as make has it (their own, real-time signals).
var inherited = []unix.Signal{unix.SIGHUP, unix.SIGINT, 32, 33, 34}

// signals undoes what execve keeps: that a signal is ignored.
func (c *compiler) signals() {
	standard := c.bytes(make([]byte, 32), "<SIG_DFL>")
	for _, n := range inherited {
		name := cmp.Or(unix.SignalName(n), "signal "+strconv.Itoa(int(n)))
		c.call("handle "+name+" by default", unix.SYS_RT_SIGACTION, int(n), standard, 0, 8)
	}
}

func (c *compiler) seccomp() {
	f := c.o.Filter
	if len(f) == 0 {
		return
	}
	insns := c.bytes(f, "")
	prog := buffer{bytes: make([]byte, 16), relocs: map[int]data{8: insns}, show: fmt.Sprintf("<%d instructions>", len(f)/8)}
	binary.NativeEndian.PutUint16(prog.bytes, uint16(len(f)/8))
	c.buffers = append(c.buffers, prog)
	c.call("load the seccomp filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, c.o.FilterFlags, data(len(c.buffers)-1))
}

func (c *compiler) user(u specs.User) {
	if !c.o.Unprivileged {
		groups := make([]byte, 0, 4*len(u.AdditionalGids)+4)
		for _, g := range u.AdditionalGids {
			groups = binary.NativeEndian.AppendUint32(groups, g)
		}
		c.call("set the groups", unix.SYS_SETGROUPS, len(u.AdditionalGids), c.bytes(append(groups, 0), fmt.Sprint(u.AdditionalGids)))
	}
	c.call("keep capabilities", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
	c.call(fmt.Sprintf("become group %d", u.GID), unix.SYS_SETRESGID, int(u.GID), int(u.GID), int(u.GID))
	c.call(fmt.Sprintf("become user %d", u.UID), unix.SYS_SETRESUID, int(u.UID), int(u.UID), int(u.UID))
	c.dumpable()
	c.call("keep capabilities no longer", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 0, 0, 0, 0)
}

// execute looks the program up in the container's PATH and executes it. A
// candidate that may not be executed is remembered, as a shell does.
func (c *compiler) execute() error {
	args := c.spec.Process.Args
	argv := c.vector(args, fmt.Sprintf("%q", args))
	envp := c.vector(c.spec.Process.Env, fmt.Sprintf("<%d variables>", len(c.spec.Process.Env)))
	if c.o.Ready != nil {
		c.inherit(c.o.Ready)
		c.call("tell that the sandbox is complete", unix.SYS_CLOSE, int(c.doneW.Fd()))
		c.call("wait for the start", unix.SYS_READ, int(c.o.Ready.Fd()), make([]byte, 8), 1)
	}
	if c.o.Init {
		c.initProcess()
	}
	what := fmt.Sprintf("exec %q", args[0])
	names := candidates(args[0], c.spec.Process.Env)
	if len(names) == 1 && strings.Contains(args[0], "/") {
		c.call(what, unix.SYS_EXECVE, names[0], argv, envp)
		return nil
	}
	for _, n := range names {
		c.call(what, unix.SYS_EXECVE, n, argv, envp).accept(unix.EACCES, unix.ENOENT, unix.ENOTDIR)
	}
	for _, n := range names { // nothing could be executed: is there one that may not be?
		c.call(what, unix.SYS_EXECVE, n, argv, envp).accept(unix.ENOENT, unix.ENOTDIR)
	}
	c.entries = append(c.entries, entry{kind: kindFail, what: what, args: [6]any{int(unix.ENOENT)}, out: -1, onError: -1, jump: -1})
	return nil
}

// present looks for a program that is executed only later, so that who creates
// the sandbox hears of one that is missing.
func (c *compiler) present() {
	if c.o.Ready == nil {
		return
	}
	args := c.spec.Process.Args
	what := fmt.Sprintf("exec %q", args[0])
	var found []int
	for _, n := range candidates(args[0], c.spec.Process.Env) {
		c.call(what, unix.SYS_FACCESSAT, atCWD, n, unix.X_OK).accept(unix.ENOENT, unix.ENOTDIR, unix.EACCES).onError = c.here() + 1
		found = append(found, c.jump("it is there"))
	}
	c.entries = append(c.entries, entry{kind: kindFail, what: what, args: [6]any{int(unix.ENOENT)}, out: -1, onError: -1, jump: -1})
	for _, at := range found {
		c.entries[at].jump = c.here()
	}
}

// candidates are the paths to try for a program name.
func candidates(name string, env []string) []string {
	if strings.Contains(name, "/") {
		return []string{name}
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			search = v
		}
	}
	var out []string
	for _, dir := range strings.Split(search, ":") {
		if dir == "" {
			dir = "."
		}
		out = append(out, dir+"/"+name)
	}
	return out
}
