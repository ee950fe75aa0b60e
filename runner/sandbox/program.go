//go:build linux

package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxSlots bounds the results that one table can keep.
const maxSlots = 448

// slot names a result of an earlier entry; used as an argument it stands for
// that result.
type slot int

// data names a buffer of the program; used as an argument it stands for the
// buffer's address.
type data int

// kind says what an entry does.
type kind uint8

const (
	kindCall   kind = iota // perform the system call
	kindJump               // go to entry jump
	kindJumpEq             // go to entry jump if args[0] == args[1]
	kindExit               // exit_group with the code of the wait status at args[0]
	kindNote               // put args[0] into the slot out
	kindFail               // report args[0] as the error number
)

// entry is one line of the table.
type entry struct {
	kind     kind
	nr       uintptr
	what     string // the step in words, for errors
	args     [6]any // int, uintptr, slot or data
	out      slot   // where the result goes, -1: nowhere
	tolerate []unix.Errno
	onError  int // entry to go to after a tolerated error, -1: the next
	jump     int // entry to go to when the result is not 0, -1: the next
}

// buffer is memory that entries point to. relocs are places in it that hold the
// address of another buffer.
type buffer struct {
	bytes  []byte
	relocs map[int]data
	show   string
}

// mapped is a detached tree to map into the child's user namespace.
type mapped struct {
	tree      *os.File
	recursive bool
}

// madePoint is a mount point that the table makes where it is missing; its slot
// is 1 if it did.
type madePoint struct {
	path string
	slot slot
}

// Program is a compiled sandbox: the table, the buffers that it points to, and
// the files that the child inherits. It is performed at most once.
type Program struct {
	entries []entry
	buffers []buffer
	slots   int
	keep    []*os.File // inherited descriptors
	own     []*os.File // those that Close closes
	made    []madePoint
	pidns   *os.File // process namespace of others that the child is born in
	sysfs   *os.File // becomes a sysfs of the network that the child is born in
	idmap   []mapped // trees whose owners the parent maps at the gate
	flags   uint64   // namespaces to clone into
	maps    idMaps
	limits  []rlimit
	sched   scheduling
	oom     *int     // score adjustment that the parent writes at the gate
	syncR   *os.File // child's side of the gate
	syncW   *os.File
	gates   int      // how often the child waits for a byte: the first is Start's when there are two
	doneR   *os.File // end of file here means that execve happened
	doneW   *os.File
	console *os.File // parent's side of the socket that carries the terminal
	leave   bool     // its end is left to be reaped by others
	child   slot     // of a joining program: the process that it leaves
	shift   int      // entries in front of the table, see prologue
	shared  bool     // the child may live in the parent's memory until it executes
}

func newProgram() *Program {
	const usual = 256 // a container's table has some 200
	return &Program{child: -1, gates: 1, entries: make([]entry, 0, usual)}
}

// String lists the system calls in the order in which the child performs them.
func (p *Program) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "clone3 flags=%s\n", cloneFlags(p.flags))
	for _, l := range p.limits {
		fmt.Fprintf(&b, "parent: prlimit64 %s soft=%d hard=%d\n", l.name, l.soft, l.hard)
	}
	if p.oom != nil {
		fmt.Fprintf(&b, "parent: oom_score_adj %d\n", *p.oom)
	}
	for _, r := range p.maps.uids {
		fmt.Fprintf(&b, "parent: uid_map %d %d %d\n", r.Inside, r.Outside, r.Count)
	}
	for _, r := range p.maps.gids {
		fmt.Fprintf(&b, "parent: gid_map %d %d %d\n", r.Inside, r.Outside, r.Count)
	}
	for _, m := range p.idmap {
		fmt.Fprintf(&b, "parent: mount_setattr %q idmap\n", m.tree.Name())
	}
	for i := range p.entries {
		fmt.Fprintf(&b, "%3d %s\n", i, p.line(&p.entries[i]))
	}
	return b.String()
}

func (p *Program) line(e *entry) string {
	var b strings.Builder
	switch e.kind {
	case kindCall:
		if e.out >= 0 {
			fmt.Fprintf(&b, "$%d = ", e.out)
		}
		name := callNames[e.nr]
		fmt.Fprintf(&b, "%s(%s)", name, strings.Join(p.showArgs(e), ", "))
	case kindJump:
		fmt.Fprintf(&b, "goto %d", e.jump)
	case kindJumpEq:
		fmt.Fprintf(&b, "if %s goto %d", strings.Join(p.showArgs(e), " == "), e.jump)
	case kindExit:
		b.WriteString("exit with the child's status")
	case kindNote:
		fmt.Fprintf(&b, "$%d = %s", e.out, strings.Join(p.showArgs(e), ""))
	case kindFail:
		b.WriteString("fail")
	}
	for _, t := range e.tolerate {
		fmt.Fprintf(&b, " |%s", unix.ErrnoName(t))
	}
	if e.onError >= 0 {
		fmt.Fprintf(&b, " -> %d", e.onError)
	}
	if e.kind == kindCall && e.jump >= 0 {
		fmt.Fprintf(&b, " nonzero -> %d", e.jump)
	}
	fmt.Fprintf(&b, "  # %s", e.what)
	return b.String()
}

func (p *Program) showArgs(e *entry) []string {
	var out []string
	for _, a := range e.args {
		switch v := a.(type) {
		case nil:
			return out
		case slot:
			out = append(out, fmt.Sprintf("$%d", v))
		case data:
			out = append(out, p.buffers[v].show)
		case int:
			if v > 4096 {
				out = append(out, fmt.Sprintf("%#x", v))
			} else {
				out = append(out, fmt.Sprint(v))
			}
		case uintptr:
			out = append(out, fmt.Sprintf("%#x", v))
		}
	}
	return out
}

// call appends a system call. Arguments are int, uintptr, slot, data, string
// (passed as a C string) or []byte (passed by address).
func (p *Program) call(what string, nr uintptr, args ...any) *entry {
	e := entry{kind: kindCall, nr: nr, what: what, out: -1, onError: -1, jump: -1}
	for i, a := range args {
		switch v := a.(type) {
		case string:
			a = p.cstring(v)
		case []byte:
			a = p.bytes(v, fmt.Sprintf("<%d bytes>", len(v)))
		}
		e.args[i] = a
	}
	p.entries = append(p.entries, e)
	return &p.entries[len(p.entries)-1]
}

// result makes the entry keep its result and returns the slot.
func (p *Program) result(e *entry) slot {
	e.out = slot(p.slots)
	p.slots++
	return e.out
}

// accept lets the entry fail with one of errs and go on.
func (e *entry) accept(errs ...unix.Errno) *entry {
	e.tolerate = append(e.tolerate, errs...)
	return e
}

// here is the index of the next entry.
func (p *Program) here() int { return len(p.entries) }

// jump appends an unconditional jump whose target is patched by land.
func (p *Program) jump(what string) int {
	p.entries = append(p.entries, entry{kind: kindJump, what: what, out: -1, onError: -1, jump: -1})
	return len(p.entries) - 1
}

func (p *Program) cstring(s string) data {
	return p.bytes(append([]byte(s), 0), fmt.Sprintf("%q", s))
}

func (p *Program) bytes(b []byte, show string) data {
	p.buffers = append(p.buffers, buffer{bytes: b, show: show})
	return data(len(p.buffers) - 1)
}

// vector is a NULL-terminated array of C strings, as execve takes it.
func (p *Program) vector(list []string, show string) data {
	b := buffer{bytes: make([]byte, 8*(len(list)+1)), relocs: map[int]data{}, show: show}
	for i, s := range list {
		b.relocs[8*i] = p.cstring(s)
	}
	p.buffers = append(p.buffers, b)
	return data(len(p.buffers) - 1)
}

// linked is an entry in the form that the child reads: no pointer to the heap
// but in args, which are plain numbers by then.
type linked struct {
	kind     kind
	tolerant uint8
	slots    uint8 // bit i: args[i] is the number of a slot
	out      int32
	onError  int32
	jump     int32
	nr       uintptr
	args     [6]uintptr
	tolerate [4]uintptr
}

// link resolves every buffer to its address. The buffers do not move: they are
// kept by p, and Go's heap does not move objects.
func (p *Program) link() ([]linked, error) {
	if p.slots > maxSlots {
		return nil, fmt.Errorf("sandbox of %d mounts: too many", p.slots)
	}
	for i := range p.buffers {
		b := &p.buffers[i]
		for at, to := range b.relocs {
			binary.NativeEndian.PutUint64(b.bytes[at:], uint64(address(p.buffers[to].bytes)))
		}
	}
	out := make([]linked, len(p.entries))
	for i := range p.entries {
		p.linkEntry(&out[i], &p.entries[i])
	}
	return out, nil
}

func (p *Program) linkEntry(l *linked, e *entry) {
	*l = linked{kind: e.kind, nr: e.nr, out: int32(e.out), onError: int32(e.onError), jump: int32(e.jump)}
	for i, a := range e.args {
		switch v := a.(type) {
		case int:
			l.args[i] = uintptr(v)
		case uintptr:
			l.args[i] = v
		case slot:
			l.args[i], l.slots = uintptr(v), l.slots|1<<i
		case data:
			l.args[i] = address(p.buffers[v].bytes)
		}
	}
	l.tolerant = uint8(copy(l.tolerate[:], errnos(e.tolerate)))
}

func errnos(list []unix.Errno) []uintptr {
	var out []uintptr
	for _, e := range list {
		out = append(out, uintptr(e))
	}
	return out
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
