//go:build linux

// Package seccomp turns a profile of system calls into the BPF program that the
// kernel runs before each of them.
//
// A profile (the OCI form, and Docker's JSON with its conditions) lists names
// with an action, and conditions on arguments. Compile resolves the names for
// the native architecture and emits a balanced tree of comparisons over ranges
// of numbers that share an outcome: the kernel evaluates a filter once for
// every number when it is loaded, so a linear list would cost the square of its
// length at each start.
//
// For one number the rules with conditions are tried in their order, then the
// unconditional one, then the default. Calls of another architecture answer
// ENOSYS, but for those of the 32 bit one (int 0x80 on amd64) under a profile
// that names it; hod's own does not, and x32 is none.
package seccomp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	profile "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Default is the profile of a container: Docker's data made stricter. Unknown
// and new calls answer ENOSYS, so that programs fall back; known and refused
// ones EPERM. Sockets are UNIX, INET, INET6 and two families of NETLINK;
// terminals take no injected input. allow lifts the refusal of further calls.
func Default(s *specs.Spec, allow ...string) (*specs.LinuxSeccomp, error) {
	out, err := profile.GetDefaultProfile(s)
	if err != nil {
		return nil, fmt.Errorf("read the default profile: %w", err)
	}
	nosys, perm := uint(unix.ENOSYS), uint(unix.EPERM)
	out.DefaultAction, out.DefaultErrnoRet, out.Architectures = specs.ActErrno, &nosys, nil
	tracer := slices.Contains(s.Process.Capabilities.Bounding, "CAP_SYS_PTRACE")
	allowed := map[string]bool{}
	var rules []specs.LinuxSyscall
	for _, r := range out.Syscalls {
		r.Names = slices.DeleteFunc(slices.Clone(r.Names), func(n string) bool {
			return n == "socket" || n == "ptrace" && !tracer && !slices.Contains(allow, n)
		})
		for _, n := range r.Names {
			if len(r.Args) == 0 { // with conditions only, the rest is refused
				allowed[n] = true
			}
		}
		if len(r.Names) > 0 {
			rules = append(rules, r)
		}
	}
	rules = append(rules, specs.LinuxSyscall{Names: allow, Action: specs.ActAllow})
	rules = append(rules, socketRules()...)
	rules = append(rules, terminalRules()...)
	var refused []string
	for name, nr := range numbers() {
		if !allowed[name] && !slices.Contains(allow, name) && name != "socket" && (nr < firstNew || slices.Contains(refusedNew, name)) {
			refused = append(refused, name)
		}
	}
	slices.Sort(refused)
	rules = append(rules, specs.LinuxSyscall{Names: refused, Action: specs.ActErrno, ErrnoRet: &perm})
	out.Syscalls = slices.DeleteFunc(rules, func(r specs.LinuxSyscall) bool { return len(r.Names) == 0 })
	return out, nil
}

// firstNew is the first number that is the same on all architectures (Linux
// 5.1). Refused calls from there on answer ENOSYS but for refusedNew, which
// every program of today knows.
const firstNew = 424

var refusedNew = []string{
	"io_uring_setup", "io_uring_enter", "io_uring_register", "open_tree", "move_mount", "fsopen", "fsconfig",
	"fsmount", "fspick", "mount_setattr", "quotactl_fd",
}

func socketRules() []specs.LinuxSyscall {
	rule := func(args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: []string{"socket"}, Action: specs.ActAllow, Args: args}
	}
	is := func(index uint, value uint64) specs.LinuxSeccompArg {
		return specs.LinuxSeccompArg{Index: index, Value: value, Op: specs.OpEqualTo}
	}
	unsupported := uint(unix.EAFNOSUPPORT)
	return []specs.LinuxSyscall{
		rule(is(0, unix.AF_UNIX)), rule(is(0, unix.AF_INET)), rule(is(0, unix.AF_INET6)),
		rule(is(0, unix.AF_NETLINK), is(2, unix.NETLINK_ROUTE)), rule(is(0, unix.AF_NETLINK), is(2, unix.NETLINK_GENERIC)),
		{Names: []string{"socket"}, Action: specs.ActErrno, ErrnoRet: &unsupported},
	}
}

// terminalRules refuse to push input into a terminal. The kernel reads 32 bits
// of the request, so only these are compared (CVE-2019-10063).
func terminalRules() []specs.LinuxSyscall {
	perm := uint(unix.EPERM)
	var out []specs.LinuxSyscall
	for _, request := range []uint64{unix.TIOCSTI, 0x541c /* TIOCLINUX */} {
		arg := specs.LinuxSeccompArg{Index: 1, Value: 0xffffffff, ValueTwo: request, Op: specs.OpMaskedEqual}
		out = append(out, specs.LinuxSyscall{Names: []string{"ioctl"}, Action: specs.ActErrno, ErrnoRet: &perm, Args: []specs.LinuxSeccompArg{arg}})
	}
	return out
}

// Load reads a profile in Docker's JSON form, which includes the OCI form.
func Load(text []byte, s *specs.Spec) (*specs.LinuxSeccomp, error) {
	return profile.LoadProfile(string(text), s)
}

// numbers is the table of the native architecture, compatNumbers of the other.
var (
	numbers       = sync.OnceValue(func() map[string]uint32 { return parse(callTable) })
	compatNumbers = sync.OnceValue(func() map[string]uint32 { return parse(compatTable) })
)

func parse(table string) map[string]uint32 {
	out := make(map[string]uint32, 500)
	words := strings.Fields(table)
	for i := 0; i+1 < len(words); i += 2 {
		if n, err := strconv.ParseUint(words[i+1], 10, 32); err == nil {
			out[words[i]] = uint32(n)
		}
	}
	return out
}

// Portable is the profile for other runtimes. Theirs know no order of rules: a
// rule without conditions replaces those with conditions. So a refusal without
// conditions is left out for a call that is allowed under conditions; what the
// conditions do not allow gets the default, ENOSYS.
func Portable(p *specs.LinuxSeccomp) *specs.LinuxSeccomp {
	if p == nil {
		return nil
	}
	conditional := map[string]bool{}
	for _, r := range p.Syscalls {
		if len(r.Args) > 0 && r.Action == specs.ActAllow {
			for _, n := range r.Names {
				conditional[n] = true
			}
		}
	}
	out := *p
	out.Syscalls = nil
	for _, r := range p.Syscalls {
		if len(r.Args) == 0 && r.Action == specs.ActErrno {
			r.Names = slices.DeleteFunc(slices.Clone(r.Names), func(n string) bool { return conditional[n] })
		}
		if len(r.Names) > 0 {
			out.Syscalls = append(out.Syscalls, r)
		}
	}
	return &out
}
