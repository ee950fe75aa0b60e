//go:build linux

package seccomp

import (
	"encoding/binary"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// interpret runs a filter as the kernel does.
func interpret(t *testing.T, filter []byte, nr, arch uint32, args [6]uint64) uint32 {
	t.Helper()
	input := make([]byte, 64)
	binary.NativeEndian.PutUint32(input, nr)
	binary.NativeEndian.PutUint32(input[4:], arch)
	for i, a := range args {
		binary.NativeEndian.PutUint64(input[16+8*i:], a)
	}
	var acc uint32
	for pc := 0; pc < len(filter)/8; pc++ {
		in := filter[8*pc:]
		code, jt, jf, k := binary.NativeEndian.Uint16(in), int(in[2]), int(in[3]), binary.NativeEndian.Uint32(in[4:])
		jump := func(yes bool) {
			if yes {
				pc += jt
			} else {
				pc += jf
			}
		}
		switch code {
		case ldAbs:
			acc = binary.NativeEndian.Uint32(input[k:])
		case and:
			acc &= k
		case ja:
			pc += int(k)
		case jeq:
			jump(acc == k)
		case jge:
			jump(acc >= k)
		case jgt:
			jump(acc > k)
		case ret:
			return k
		default:
			t.Fatalf("instruction %d: code %#x", pc, code)
		}
	}
	t.Fatal("the filter has no end")
	return 0
}

// meaning is what a profile says about a call, read the slow way.
func meaning(t *testing.T, p *specs.LinuxSeccomp, name string, args [6]uint64) uint32 {
	t.Helper()
	result, err := action(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		t.Fatal(err)
	}
	plain := false
	for _, r := range p.Syscalls {
		for _, n := range r.Names {
			if n != name {
				continue
			}
			act, _ := action(r.Action, r.ErrnoRet)
			if len(r.Args) == 0 && !plain {
				result, plain = act, true
			}
		}
	}
	for _, r := range p.Syscalls {
		for _, n := range r.Names {
			if n == name && len(r.Args) > 0 && holds(r.Args, args) {
				act, _ := action(r.Action, r.ErrnoRet)
				return act
			}
		}
	}
	return result
}

func holds(conds []specs.LinuxSeccompArg, args [6]uint64) bool {
	for _, c := range conds {
		v := args[c.Index]
		ok := map[specs.LinuxSeccompOperator]bool{
			specs.OpEqualTo: v == c.Value, specs.OpNotEqual: v != c.Value, specs.OpGreaterThan: v > c.Value,
			specs.OpGreaterEqual: v >= c.Value, specs.OpLessThan: v < c.Value, specs.OpLessEqual: v <= c.Value,
			specs.OpMaskedEqual: v&c.Value == c.ValueTwo,
		}[c.Op]
		if !ok {
			return false
		}
	}
	return true
}

func defaultProfile(t *testing.T) *specs.LinuxSeccomp {
	t.Helper()
	s := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}}
	p, err := Default(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDefaultMeansWhatTheProfileSays(t *testing.T) {
	p := defaultProfile(t)
	filter, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d instructions", len(filter)/8)
	values := []uint64{0, 1, 2, 10, 16, 38, 40, 1 << 32, unix.TIOCSTI, 1<<32 | unix.TIOCSTI, 0x541c, unix.CLONE_NEWUSER, 0xffffffff, 1<<63 - 1}
	names := map[uint32]string{}
	for n, nr := range numbers() {
		names[nr] = n
	}
	for nr := range uint32(1024) {
		for i := range 3 {
			for _, v := range values {
				var args [6]uint64
				args[i] = v
				want := meaning(t, p, names[nr], args)
				if got := interpret(t, filter, nr, nativeArch, args); got != want {
					t.Fatalf("%s (%d) argument %d = %#x: %#x, the profile says %#x", names[nr], nr, i, v, got, want)
				}
			}
		}
	}
}

func TestForeignArchitectures(t *testing.T) {
	filter, err := Compile(defaultProfile(t))
	if err != nil {
		t.Fatal(err)
	}
	nosys := uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)
	for nr := range uint32(1024) {
		for _, arch := range []uint32{0x40000003 /* i386 */, 0x40000028, 0} {
			if got := interpret(t, filter, nr, arch, [6]uint64{}); got != nosys {
				t.Fatalf("call %d of architecture %#x: %#x", nr, arch, got)
			}
		}
		if got := interpret(t, filter, nr|x32Bit, nativeArch, [6]uint64{}); got != nosys {
			t.Fatalf("x32 call %d: %#x", nr, got)
		}
	}
}

// TestCompat: a profile that names the 32 bit architecture means its calls too.
func TestCompat(t *testing.T) {
	p := defaultProfile(t)
	p.Architectures = []specs.Arch{specs.ArchX86_64, compatName}
	filter, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	names := map[uint32]string{}
	for n, nr := range compatNumbers() {
		names[nr] = n
	}
	for nr := range uint32(1024) {
		for _, arg := range []uint64{0, unix.AF_VSOCK, unix.CLONE_NEWUSER} {
			args := [6]uint64{arg}
			if got, want := interpret(t, filter, nr, compatArch, args), meaning(t, p, names[nr], args); got != want {
				t.Fatalf("%s (%d) with %#x: %#x, the profile says %#x", names[nr], nr, arg, got, want)
			}
		}
		if got, want := interpret(t, filter, nr, 0x42, [6]uint64{}), uint32(unix.SECCOMP_RET_ERRNO)|uint32(unix.ENOSYS); got != want {
			t.Fatalf("call %d of a third architecture: %#x", nr, got)
		}
	}
}

func TestHardRows(t *testing.T) {
	filter, err := Compile(defaultProfile(t))
	if err != nil {
		t.Fatal(err)
	}
	allow, errno := uint32(unix.SECCOMP_RET_ALLOW), uint32(unix.SECCOMP_RET_ERRNO)
	for _, row := range []struct {
		what string
		nr   uint32
		args [6]uint64
		want uint32
	}{
		{"read", unix.SYS_READ, [6]uint64{}, allow},
		{"mount", unix.SYS_MOUNT, [6]uint64{}, errno | uint32(unix.EPERM)},
		{"clone3", unix.SYS_CLONE3, [6]uint64{}, errno | uint32(unix.ENOSYS)},
		{"clone of a thread", unix.SYS_CLONE, [6]uint64{unix.CLONE_VM | unix.CLONE_THREAD}, allow},
		{"clone of a user namespace", unix.SYS_CLONE, [6]uint64{unix.CLONE_NEWUSER}, errno | uint32(unix.EPERM)},
		{"io_uring", unix.SYS_IO_URING_SETUP, [6]uint64{}, errno | uint32(unix.EPERM)},
		{"ptrace", unix.SYS_PTRACE, [6]uint64{}, errno | uint32(unix.EPERM)},
		{"keyctl", unix.SYS_KEYCTL, [6]uint64{}, errno | uint32(unix.EPERM)},
		{"TIOCSTI", unix.SYS_IOCTL, [6]uint64{0, unix.TIOCSTI}, errno | uint32(unix.EPERM)},
		{"TIOCSTI with high bits", unix.SYS_IOCTL, [6]uint64{0, 1<<32 | unix.TIOCSTI}, errno | uint32(unix.EPERM)},
		{"TCGETS", unix.SYS_IOCTL, [6]uint64{0, unix.TCGETS}, allow},
		{"socket INET", unix.SYS_SOCKET, [6]uint64{unix.AF_INET}, allow},
		{"socket ALG", unix.SYS_SOCKET, [6]uint64{unix.AF_ALG}, errno | uint32(unix.EAFNOSUPPORT)},
		{"socket VSOCK", unix.SYS_SOCKET, [6]uint64{unix.AF_VSOCK}, errno | uint32(unix.EAFNOSUPPORT)},
		{"socket NETLINK_ROUTE", unix.SYS_SOCKET, [6]uint64{unix.AF_NETLINK, 0, unix.NETLINK_ROUTE}, allow},
		{"socket NETLINK_XFRM", unix.SYS_SOCKET, [6]uint64{unix.AF_NETLINK, 0, unix.NETLINK_XFRM}, errno | uint32(unix.EAFNOSUPPORT)},
		{"a call of the future", 1000, [6]uint64{}, errno | uint32(unix.ENOSYS)},
	} {
		if got := interpret(t, filter, row.nr, nativeArch, row.args); got != row.want {
			t.Errorf("%s: %#x, want %#x", row.what, got, row.want)
		}
	}
}

// TestEmptyProfile: a profile without rules is its default.
func TestEmptyProfile(t *testing.T) {
	filter, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow})
	if err != nil {
		t.Fatal(err)
	}
	for _, nr := range []uint32{0, 1, 435, 100000} {
		if got := interpret(t, filter, nr, nativeArch, [6]uint64{}); got != unix.SECCOMP_RET_ALLOW {
			t.Errorf("call %d: %#x", nr, got)
		}
	}
}
