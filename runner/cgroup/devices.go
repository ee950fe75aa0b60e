//go:build linux

package cgroup

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// standardNodes are the devices that every container may open: the memory ones,
// its terminals, and (136) the terminals of its own devpts.
var standardNodes = [][2]int64{{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}, {136, -1}}

// StandardDevices are the rules that every container has: nodes may be made, and
// the standard ones opened.
func StandardDevices() []specs.LinuxDeviceCgroup {
	rules := []specs.LinuxDeviceCgroup{AllowDevice("c", -1, -1, "m"), AllowDevice("b", -1, -1, "m")}
	for _, n := range standardNodes {
		rules = append(rules, AllowDevice("c", n[0], n[1], "rwm"))
	}
	return rules
}

// AllowDevice is a rule that allows; a negative number stands for all.
func AllowDevice(kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
	r := specs.LinuxDeviceCgroup{Allow: true, Type: kind, Access: access}
	if major >= 0 {
		r.Major = &major
	}
	if minor >= 0 {
		r.Minor = &minor
	}
	return r
}

// deviceLines are the rules in the form of cgroup v1: the file that each is
// written to, and its text. There a refusal takes back a rule that is equal, and
// cannot cut a piece out of a wider one.
func deviceLines(rules []specs.LinuxDeviceCgroup) ([][2]string, error) {
	var out [][2]string
	for i, r := range rules {
		if kind := r.Type; !r.Allow && kind != "" && kind != "a" && slices.ContainsFunc(rules[:i], func(o specs.LinuxDeviceCgroup) bool { return cutsInto(r, o) }) {
			return nil, fmt.Errorf("limit devices: control groups version 1 cannot refuse %s behind a rule that allows", kind)
		}
		file := "devices.deny"
		if r.Allow {
			file = "devices.allow"
		}
		number := func(n *int64) string {
			if n == nil || *n < 0 {
				return "*"
			}
			return fmt.Sprint(*n)
		}
		kind := r.Type
		if kind == "" {
			kind = "a"
		}
		out = append(out, [2]string{file, fmt.Sprintf("%s %s:%s %s", kind, number(r.Major), number(r.Minor), accessOf(r))})
	}
	return out, nil
}

// cutsInto says that a refusal takes away a part of what an earlier rule allows,
// and not all of it.
func cutsInto(refusal, earlier specs.LinuxDeviceCgroup) bool {
	meets := func(a, b *int64) bool { return a == nil || b == nil || *a < 0 || *b < 0 || *a == *b }
	equal := func(a, b *int64) bool { return a == b || a != nil && b != nil && *a == *b }
	r, e := refusal, earlier
	switch {
	case !e.Allow || !strings.ContainsAny(accessOf(r), accessOf(e)) || e.Type != r.Type && e.Type != "" && e.Type != "a":
		return false
	case equal(r.Major, e.Major) && equal(r.Minor, e.Minor) && e.Type == r.Type:
		return false
	}
	return meets(r.Major, e.Major) && meets(r.Minor, e.Minor)
}

func accessOf(r specs.LinuxDeviceCgroup) string {
	if r.Access == "" {
		return "rwm"
	}
	return r.Access
}

// bpfInsn is struct bpf_insn.
type bpfInsn struct {
	code, regs uint8
	offset     int16
	imm        int32
}

// The few instructions that a filter of devices needs. Registers: 1 scratch, 2
// kind, 3 access, 4 major, 5 minor.
func load(dst uint8, offset int16) bpfInsn {
	return bpfInsn{code: 0x61, regs: dst | 1<<4, offset: offset}
}
func move(dst, src uint8) bpfInsn      { return bpfInsn{code: 0xbf, regs: dst | src<<4} }
func set(dst uint8, imm int32) bpfInsn { return bpfInsn{code: 0xb7, regs: dst, imm: imm} }
func and(dst uint8, imm int32) bpfInsn { return bpfInsn{code: 0x57, regs: dst, imm: imm} }
func shiftRight(dst uint8, imm int32) bpfInsn {
	return bpfInsn{code: 0x77, regs: dst, imm: imm}
}
func ifNot(dst uint8, imm int32) bpfInsn { return bpfInsn{code: 0x55, regs: dst, imm: imm} }
func ifIs(dst uint8, imm int32) bpfInsn  { return bpfInsn{code: 0x15, regs: dst, imm: imm} }

var bpfExit = bpfInsn{code: 0x95}

// deviceFilter is the rules as a program for BPF_PROG_TYPE_CGROUP_DEVICE. The
// last rule that matches decides, so they are tried from the end; what none
// matches is refused.
func deviceFilter(rules []specs.LinuxDeviceCgroup) ([]bpfInsn, error) {
	out := []bpfInsn{load(2, 0), move(3, 2), shiftRight(3, 16), and(2, 0xffff), load(4, 4), load(5, 8)}
	for _, r := range slices.Backward(rules) {
		one, err := deviceRule(r)
		if err != nil {
			return nil, err
		}
		out = append(out, one...)
	}
	return append(out, set(0, 0), bpfExit), nil
}

// deviceRule is one rule. An allowing one matches when all that is asked for is
// in it, a refusing one when any of it is.
func deviceRule(r specs.LinuxDeviceCgroup) ([]bpfInsn, error) {
	var access, verdict int32
	for _, c := range accessOf(r) {
		bit, ok := map[rune]int32{'m': 1, 'r': 2, 'w': 4}[c]
		if !ok {
			return nil, fmt.Errorf("device rule: unknown access %q", r.Access)
		}
		access |= bit
	}
	kind, ok := map[string]int32{"b": 1, "c": 2, "a": 0, "": 0}[r.Type]
	if !ok {
		return nil, fmt.Errorf("device rule: unknown type %q", r.Type)
	}
	var out []bpfInsn
	if kind != 0 {
		out = append(out, ifNot(2, kind))
	}
	out = append(out, move(1, 3))
	if r.Allow {
		verdict = 1
		out = append(out, and(1, 7&^access), ifNot(1, 0))
	} else {
		out = append(out, and(1, access), ifIs(1, 0))
	}
	for i, n := range []*int64{r.Major, r.Minor} {
		if n != nil && *n >= 0 {
			out = append(out, ifNot(uint8(4+i), int32(*n)))
		}
	}
	for i := range out { // what does not match goes on behind this rule
		if out[i].code == 0x55 || out[i].code == 0x15 {
			out[i].offset = int16(len(out) - i + 1)
		}
	}
	return append(out, set(0, verdict), bpfExit), nil
}

// attachDevices makes the kernel ask the rules for each device that a process of
// the v2 group opens or makes.
func attachDevices(dir string, rules []specs.LinuxDeviceCgroup) error {
	program, err := deviceFilter(rules)
	if err != nil {
		return err
	}
	license := []byte("Apache-2.0\x00")
	load := make([]byte, 128)
	binary.NativeEndian.PutUint32(load, unix.BPF_PROG_TYPE_CGROUP_DEVICE)
	binary.NativeEndian.PutUint32(load[4:], uint32(len(program)))
	binary.NativeEndian.PutUint64(load[8:], uint64(uintptr(unsafe.Pointer(&program[0]))))
	binary.NativeEndian.PutUint64(load[16:], uint64(uintptr(unsafe.Pointer(&license[0]))))
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&load[0])), uintptr(len(load)))
	if errno != 0 {
		return fmt.Errorf("load device filter: %w", errno)
	}
	defer unix.Close(int(fd))
	group, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("attach device filter: %w", err)
	}
	defer group.Close()
	attach := make([]byte, 32)
	for i, v := range []uint32{uint32(group.Fd()), uint32(fd), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI} {
		binary.NativeEndian.PutUint32(attach[4*i:], v)
	}
	if _, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_ATTACH, uintptr(unsafe.Pointer(&attach[0])), uintptr(len(attach))); errno != 0 {
		return fmt.Errorf("attach device filter: %w", errno)
	}
	return nil
}

// limitDevices applies the rules on whichever hierarchy the group is.
func (g *Group) limitDevices(rules []specs.LinuxDeviceCgroup) error {
	if len(rules) == 0 {
		return nil
	}
	if dir, ok := g.paths[Unified]; ok {
		return attachDevices(dir, rules)
	}
	dir, ok := g.paths["devices"]
	if !ok {
		return fmt.Errorf("limit devices: the kernel offers no devices controller")
	}
	lines, err := deviceLines(rules)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if err := write(dir, l[0], l[1]); err != nil {
			return fmt.Errorf("set %s: %w", filepath.Join(l[0], l[1]), err)
		}
	}
	return nil
}
