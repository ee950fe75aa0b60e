//go:build linux

package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/hodbuild/hod/layers/rootfs"
)

// Scope is what Landlock keeps a sandbox from reaching where it shares a
// namespace with the host.
type Scope uint64

// The scopes of Landlock's ABI 6.
const (
	ScopeAbstractSockets Scope = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	ScopeSignals         Scope = unix.LANDLOCK_SCOPE_SIGNAL
)

// landlock confines the program. Kernels without it, or before its ABI 6, are
// passed over: it strengthens what the namespaces do already.
func (c *compiler) landlock() {
	if c.o.Scope == 0 {
		return
	}
	const what = "confine signals and sockets (Landlock)"
	attr := make([]byte, 24)
	binary.NativeEndian.PutUint64(attr[16:], uint64(c.o.Scope))
	first := c.here()
	set := c.result(c.call(what, unix.SYS_LANDLOCK_CREATE_RULESET, c.bytes(attr, fmt.Sprintf("{scoped=%#x}", c.o.Scope)), len(attr), 0).
		accept(unix.ENOSYS, unix.EOPNOTSUPP, unix.E2BIG, unix.EINVAL))
	c.call(what, unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0)
	c.entries[first].onError = c.here()
}

// appArmor asks for a profile at execve: through the container's own proc, and
// who joins a sandbox while it still sees the host's (its child inherits it).
func (c *compiler) appArmor() error {
	profile := c.spec.Process.ApparmorProfile
	if profile == "" {
		return nil
	}
	if enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled"); !strings.HasPrefix(string(enabled), "Y") {
		if profile == "unconfined" {
			return nil
		}
		return fmt.Errorf("AppArmor profile %q: this kernel runs without AppArmor", profile)
	}
	what := fmt.Sprintf("ask for the AppArmor profile %q", profile)
	how := make([]byte, 24)
	binary.NativeEndian.PutUint64(how, unix.O_WRONLY|unix.O_CLOEXEC)
	binary.NativeEndian.PutUint64(how[16:], unix.RESOLVE_NO_MAGICLINKS)
	var at, file any = atCWD, "/proc/self/attr/exec"
	if !c.joining {
		if c.proc == nil {
			return fmt.Errorf("AppArmor profile %q: the container has no /proc", profile)
		}
		at, file = c.proc, "self/attr/exec"
		binary.NativeEndian.PutUint64(how[16:], unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS|unix.RESOLVE_NO_XDEV)
	}
	fd := c.result(c.call(what, unix.SYS_OPENAT2, at, file, c.bytes(how, "{O_WRONLY}"), len(how)))
	line := "exec " + profile
	c.call(what, unix.SYS_WRITE, fd, line, len(line))
	return nil
}

// timeNamespace is entered by execve, from Linux 6.2. Before, the program would
// have another one than its children, and could start no thread. Offsets of its
// clocks must be kept; without any the namespace may be missing.
func (c *compiler) timeNamespace() error {
	offsets := c.spec.Linux.TimeOffsets
	if !c.o.Time || !rootfs.KernelFrom(6, 2) {
		if len(offsets) > 0 {
			return errors.New("clocks of its own (linux.timeOffsets) need Linux 6.2")
		}
		return nil
	}
	unshare := c.call("make a time namespace", unix.SYS_UNSHARE, int(unix.CLONE_NEWTIME))
	if len(offsets) == 0 {
		unshare.accept(unix.EINVAL, unix.ENOSYS)
		return nil
	}
	if c.proc == nil {
		return errors.New("clocks of its own (linux.timeOffsets): the container has no /proc")
	}
	var lines string
	for _, clock := range slices.Sorted(maps.Keys(offsets)) {
		lines += fmt.Sprintf("%s %d %d\n", clock, offsets[clock].Secs, offsets[clock].Nanosecs)
	}
	const what = "set the offsets of the clocks"
	how := make([]byte, 24)
	binary.NativeEndian.PutUint64(how, unix.O_WRONLY|unix.O_CLOEXEC)
	binary.NativeEndian.PutUint64(how[16:], unix.RESOLVE_BENEATH|unix.RESOLVE_NO_XDEV)
	fd := c.result(c.call(what, unix.SYS_OPENAT2, c.proc, "self/timens_offsets", c.bytes(how, "{O_WRONLY}"), len(how)))
	c.call(what, unix.SYS_WRITE, fd, lines, len(lines))
	return nil
}

// personality is the kernel's answer to programs that ask what machine it is.
func (c *compiler) personality() error {
	p := c.spec.Linux.Personality
	if p == nil {
		return nil
	}
	domain, ok := map[specs.LinuxPersonalityDomain]int{specs.PerLinux: 0, specs.PerLinux32: 8}[p.Domain]
	if !ok {
		return fmt.Errorf("personality: unknown domain %q", p.Domain)
	}
	c.call("set the personality "+string(p.Domain), unix.SYS_PERSONALITY, domain)
	return nil
}
