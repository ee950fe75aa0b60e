//go:build linux

package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
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

// appArmor asks for a profile at execve.
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
	if c.proc == nil {
		return fmt.Errorf("AppArmor profile %q: the container has no /proc", profile)
	}
	what := fmt.Sprintf("ask for the AppArmor profile %q", profile)
	how := make([]byte, 24)
	binary.NativeEndian.PutUint64(how, unix.O_WRONLY|unix.O_CLOEXEC)
	binary.NativeEndian.PutUint64(how[16:], unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS|unix.RESOLVE_NO_XDEV)
	fd := c.result(c.call(what, unix.SYS_OPENAT2, c.proc, "self/attr/exec", c.bytes(how, "{O_WRONLY}"), len(how)))
	line := "exec " + profile
	c.call(what, unix.SYS_WRITE, fd, line, len(line))
	return nil
}

// timeNamespace is entered by execve, from Linux 6.1. Before, the program would
// have another one than its children, and could start no thread.
func (c *compiler) timeNamespace() {
	if c.o.Time && kernelFrom(6, 1) {
		c.call("make a time namespace", unix.SYS_UNSHARE, int(unix.CLONE_NEWTIME)).accept(unix.EINVAL, unix.ENOSYS)
	}
}

// kernelFrom says whether the running kernel is of that version or newer.
func kernelFrom(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}
