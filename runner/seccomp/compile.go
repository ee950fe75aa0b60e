//go:build linux

package seccomp

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// insn is one instruction of classic BPF.
type insn struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

const (
	ldAbs = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	jeq   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jge   = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	jgt   = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	ja    = unix.BPF_JMP | unix.BPF_JA
	and   = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	ret   = unix.BPF_RET | unix.BPF_K

	offsetNr, offsetArch, offsetArgs = 0, 4, 16

	// x32Bit marks the numbers of the x32 interface on amd64; no native number
	// is as high anywhere.
	x32Bit = 0x40000000
)

// span is a range of numbers that share an outcome.
type span struct {
	from uint32
	code []insn
}

// filed is a rule under one of its numbers.
type filed struct {
	nr   uint32
	rule *specs.LinuxSyscall
}

// Compile makes the filter, as an array of struct sock_filter.
func Compile(p *specs.LinuxSeccomp) ([]byte, error) {
	if p == nil {
		return nil, nil
	}
	fallback, err := action(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	native, err := branch(p, numbers(), fallback)
	if err != nil {
		return nil, err
	}
	code := []insn{{code: ldAbs, k: offsetArch}, {code: jeq, k: nativeArch, jt: 1}, {code: ja, k: uint32(len(native))}}
	code = append(code, native...)
	if slices.Contains(p.Architectures, compatName) {
		compat, err := branch(p, compatNumbers(), fallback)
		if err != nil {
			return nil, err
		}
		code = append(append(code, insn{code: jeq, k: compatArch, jt: 1}, insn{code: ja, k: uint32(len(compat))}), compat...)
	}
	code = append(code, insn{code: ret, k: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
	if len(code) > 4096 {
		return nil, fmt.Errorf("compile seccomp profile: %d instructions, the kernel takes 4096", len(code))
	}
	out := make([]byte, 0, 8*len(code))
	for _, i := range code {
		out = binary.NativeEndian.AppendUint16(out, i.code)
		out = append(out, i.jt, i.jf)
		out = binary.NativeEndian.AppendUint32(out, i.k)
	}
	return out, nil
}

// branch is what the profile says about one architecture's calls.
func branch(p *specs.LinuxSeccomp, table map[string]uint32, fallback uint32) ([]insn, error) {
	rules, err := collect(p, table)
	if err != nil {
		return nil, err
	}
	spans, err := spansOf(rules, fallback)
	if err != nil {
		return nil, err
	}
	return appendTree([]insn{{code: ldAbs, k: offsetNr}}, spans), nil
}

// collect files the profile's rules under the numbers of their names, in order
// of the numbers. A name that the architecture does not have is passed over.
func collect(p *specs.LinuxSeccomp, table map[string]uint32) ([]filed, error) {
	out := make([]filed, 0, len(table))
	for i := range p.Syscalls {
		for _, a := range p.Syscalls[i].Args {
			if a.Index > 5 {
				return nil, fmt.Errorf("compile seccomp profile: %q has no argument %d", p.Syscalls[i].Names, a.Index)
			}
		}
		rules := alternatives(p.Syscalls[i : i+1])
		for _, name := range p.Syscalls[i].Names {
			nr, ok := table[name]
			for k := range rules {
				if ok {
					out = append(out, filed{nr, &rules[k]})
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b filed) int { return int(a.nr) - int(b.nr) })
	return out, nil
}

// alternatives splits a rule that names one argument twice: its conditions are
// alternatives then, as in libseccomp's users.
func alternatives(rule []specs.LinuxSyscall) []specs.LinuxSyscall {
	var seen [6]bool
	for _, a := range rule[0].Args {
		if seen[a.Index] {
			var out []specs.LinuxSyscall
			for _, one := range rule[0].Args {
				alone := rule[0]
				alone.Args = []specs.LinuxSeccompArg{one}
				out = append(out, alone)
			}
			return out
		}
		seen[a.Index] = true
	}
	return rule
}

func spansOf(rules []filed, fallback uint32) ([]span, error) {
	spans := make([]span, 0, 128)
	add := func(from uint32, code []insn) {
		if n := len(spans); n > 0 && slices.Equal(spans[n-1].code, code) {
			return
		}
		spans = append(spans, span{from, slices.Clone(code)})
	}
	other := []insn{{code: ret, k: fallback}}
	var code []insn
	next := uint32(0)
	for len(rules) > 0 {
		nr := rules[0].nr
		if nr > next {
			add(next, other)
		}
		n := slices.IndexFunc(rules, func(f filed) bool { return f.nr != nr })
		if n < 0 {
			n = len(rules)
		}
		var err error
		if code, err = outcome(code[:0], rules[:n], fallback); err != nil {
			return nil, err
		}
		add(nr, code)
		rules, next = rules[n:], nr+1
	}
	add(next, other)
	add(x32Bit, []insn{{code: ret, k: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}})
	spans[0].from = 0
	return spans, nil
}

// outcome appends the code for one number: conditions in order, then the rule
// without any, then the default.
func outcome(code []insn, rules []filed, fallback uint32) ([]insn, error) {
	last := fallback
	plain := false
	for _, f := range rules {
		act, err := action(f.rule.Action, f.rule.ErrnoRet)
		if err != nil {
			return nil, err
		}
		if len(f.rule.Args) == 0 {
			if !plain { // the first unconditional rule counts
				last, plain = act, true
			}
			continue
		}
		part, err := conditional(f.rule.Args, act)
		if err != nil {
			return nil, err
		}
		code = append(code, part...)
	}
	return append(code, insn{code: ret, k: last}), nil
}

// Jump targets before they are resolved.
const (
	toMatch = 254 // the next condition
	toFail  = 255 // behind this rule
)

func conditional(args []specs.LinuxSeccompArg, act uint32) ([]insn, error) {
	var conds [][]insn
	total := 1
	for _, a := range args {
		c, err := condition(a)
		if err != nil {
			return nil, err
		}
		conds = append(conds, c)
		total += len(c)
	}
	var code []insn
	for _, c := range conds {
		start := len(code)
		for i, in := range c {
			if in.code&7 == unix.BPF_JMP {
				at := start + i
				in.jt = resolve(in.jt, at, start+len(c), total)
				in.jf = resolve(in.jf, at, start+len(c), total)
			}
			code = append(code, in)
		}
	}
	return append(code, insn{code: ret, k: act}), nil
}

func resolve(j uint8, at, match, fail int) uint8 {
	switch j {
	case toMatch:
		return uint8(match - at - 1)
	case toFail:
		return uint8(fail - at - 1)
	}
	return j
}

// condition compares one 64 bit argument in two halves.
func condition(a specs.LinuxSeccompArg) ([]insn, error) {
	low, high := offsetArgs+8*uint32(a.Index), offsetArgs+8*uint32(a.Index)+4
	vl, vh := uint32(a.Value), uint32(a.Value>>32)
	ordered := func(above, equal uint8, op uint16, jt, jf uint8) []insn {
		return []insn{
			{code: ldAbs, k: high}, {code: jgt, k: vh, jt: above}, {code: jeq, k: vh, jf: equal},
			{code: ldAbs, k: low}, {code: op, k: vl, jt: jt, jf: jf},
		}
	}
	switch a.Op {
	case specs.OpEqualTo:
		return []insn{{code: ldAbs, k: high}, {code: jeq, k: vh, jf: toFail}, {code: ldAbs, k: low}, {code: jeq, k: vl, jt: toMatch, jf: toFail}}, nil
	case specs.OpNotEqual:
		return []insn{{code: ldAbs, k: high}, {code: jeq, k: vh, jf: toMatch}, {code: ldAbs, k: low}, {code: jeq, k: vl, jt: toFail, jf: toMatch}}, nil
	case specs.OpGreaterThan:
		return ordered(toMatch, toFail, jgt, toMatch, toFail), nil
	case specs.OpGreaterEqual:
		return ordered(toMatch, toFail, jge, toMatch, toFail), nil
	case specs.OpLessThan:
		return ordered(toFail, toMatch, jge, toFail, toMatch), nil
	case specs.OpLessEqual:
		return ordered(toFail, toMatch, jgt, toFail, toMatch), nil
	case specs.OpMaskedEqual:
		wl, wh := uint32(a.ValueTwo), uint32(a.ValueTwo>>32)
		return []insn{
			{code: ldAbs, k: high}, {code: and, k: vh}, {code: jeq, k: wh, jf: toFail},
			{code: ldAbs, k: low}, {code: and, k: vl}, {code: jeq, k: wl, jt: toMatch, jf: toFail},
		}, nil
	}
	return nil, fmt.Errorf("compile seccomp profile: unknown comparison %q", a.Op)
}

// appendTree appends the balanced search for the span of the number in the
// accumulator.
func appendTree(code []insn, spans []span) []insn {
	if len(spans) == 1 {
		return append(code, spans[0].code...)
	}
	left, right := spans[:len(spans)/2], spans[len(spans)/2:]
	if over := treeLen(left); over <= 255 {
		code = append(code, insn{code: jge, k: right[0].from, jt: uint8(over)})
	} else {
		code = append(code, insn{code: jge, k: right[0].from, jf: 1}, insn{code: ja, k: uint32(over)})
	}
	return appendTree(appendTree(code, left), right)
}

// treeLen is how many instructions appendTree appends.
func treeLen(spans []span) int {
	if len(spans) == 1 {
		return len(spans[0].code)
	}
	left, right := treeLen(spans[:len(spans)/2]), treeLen(spans[len(spans)/2:])
	if left <= 255 {
		return 1 + left + right
	}
	return 2 + left + right
}

func action(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	number := func(otherwise uint32) uint32 {
		if errno != nil {
			return uint32(*errno) & 0xffff
		}
		return otherwise
	}
	switch a {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | number(uint32(unix.EPERM)), nil
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | number(uint32(unix.EPERM)), nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	}
	return 0, fmt.Errorf("compile seccomp profile: action %q is not supported", a)
}

// Flags are the kernel's flags for loading the profile's filter. Those that ask
// for a listener are refused.
func Flags(p *specs.LinuxSeccomp) (flags int, err error) {
	if p == nil {
		return 0, nil
	}
	for _, f := range p.Flags {
		switch f {
		case specs.LinuxSeccompFlagLog:
			flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case "SECCOMP_FILTER_FLAG_TSYNC": // the process has one thread
		default:
			return 0, fmt.Errorf("compile seccomp profile: flag %q is not supported", f)
		}
	}
	return flags, nil
}
