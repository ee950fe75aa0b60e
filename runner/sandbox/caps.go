//go:build linux

package sandbox

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// capNames are the capabilities in the order of their numbers.
var capNames = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// CapNames lists every capability that hod knows, as CAP_NAME.
func CapNames() []string {
	out := make([]string, len(capNames))
	for i, n := range capNames {
		out[i] = "CAP_" + n
	}
	return out
}

// Grantable lists the capabilities that this process may give: those of its own
// bounding set. Inside a new user namespace it may give every one.
func Grantable() []string {
	var out []string
	for i, name := range CapNames() {
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(i), 0, 0, 0); err == nil && has == 1 {
			out = append(out, name)
		}
	}
	return out
}

func capMask(names []string) (uint64, error) {
	var mask uint64
next:
	for _, name := range names {
		for i, n := range capNames {
			if strings.TrimPrefix(strings.ToUpper(name), "CAP_") == n {
				mask |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("unknown capability %q", name)
	}
	return mask, nil
}

// boundingSet drops every capability that is not in keep. A kernel that does
// not know the number yet answers EINVAL.
func (c *compiler) boundingSet(keep []string) error {
	mask, err := capMask(keep)
	if err != nil {
		return err
	}
	for i := range 64 {
		if mask&(1<<i) != 0 {
			continue
		}
		name := fmt.Sprintf("capability %d", i)
		if i < len(capNames) {
			name = "CAP_" + capNames[i]
		} else if i > len(capNames)+2 {
			break // a little ahead of the kernels that exist
		}
		c.call("drop "+name, unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, i, 0, 0, 0).accept(unix.EINVAL)
	}
	return nil
}

// capabilities sets the effective, permitted and inheritable sets, and then the
// ambient one, which may hold only what the other two hold.
func (c *compiler) capabilities(caps *specs.LinuxCapabilities) error {
	var sets [4]uint64
	for i, names := range [][]string{caps.Effective, caps.Permitted, caps.Inheritable, caps.Ambient} {
		mask, err := capMask(names)
		if err != nil {
			return err
		}
		sets[i] = mask
	}
	c.call("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	header := make([]byte, 8)
	binary.NativeEndian.PutUint32(header, unix.LINUX_CAPABILITY_VERSION_3)
	body := make([]byte, 24)
	for i := range 3 {
		binary.NativeEndian.PutUint32(body[4*i:], uint32(sets[i]))
		binary.NativeEndian.PutUint32(body[12+4*i:], uint32(sets[i]>>32))
	}
	show := fmt.Sprintf("{effective=%#x permitted=%#x inheritable=%#x}", sets[0], sets[1], sets[2])
	c.call("set capabilities", unix.SYS_CAPSET, header, c.bytes(body, show))
	for i := range capNames {
		if sets[3]&(1<<i) != 0 {
			c.call("raise ambient CAP_"+capNames[i], unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, i, 0, 0).
				accept(unix.EPERM, unix.EINVAL) // only what is inheritable too can be; other runtimes pass over it
		}
	}
	return nil
}

var rlimitNames = map[string]int{
	"AS": unix.RLIMIT_AS, "CORE": unix.RLIMIT_CORE, "CPU": unix.RLIMIT_CPU, "DATA": unix.RLIMIT_DATA,
	"FSIZE": unix.RLIMIT_FSIZE, "LOCKS": unix.RLIMIT_LOCKS, "MEMLOCK": unix.RLIMIT_MEMLOCK,
	"MSGQUEUE": unix.RLIMIT_MSGQUEUE, "NICE": unix.RLIMIT_NICE, "NOFILE": unix.RLIMIT_NOFILE,
	"NPROC": unix.RLIMIT_NPROC, "RSS": unix.RLIMIT_RSS, "RTPRIO": unix.RLIMIT_RTPRIO,
	"RTTIME": unix.RLIMIT_RTTIME, "SIGPENDING": unix.RLIMIT_SIGPENDING, "STACK": unix.RLIMIT_STACK,
}

func rlimitNumber(name string) (int, bool) {
	n, ok := rlimitNames[strings.TrimPrefix(strings.ToUpper(name), "RLIMIT_")]
	return n, ok
}
