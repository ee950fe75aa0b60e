//go:build linux

package sandbox

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// report is the page that parent and child share.
type report struct {
	failed uintptr // 1 + index of the entry that failed
	errno  uintptr
	slots  [maxSlots]uintptr
}

//go:linkname runtimeBeforeFork syscall.runtime_BeforeFork
func runtimeBeforeFork()

//go:linkname runtimeAfterFork syscall.runtime_AfterFork
func runtimeAfterFork()

//go:linkname runtimeAfterForkInChild syscall.runtime_AfterForkInChild
func runtimeAfterForkInChild()

// cloneArgs is struct clone_args of clone3, its first version with the cgroup.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// forkPerform clones and performs the table in the child. It follows the rules
// of the syscall package's own fork: between the clone and execve nothing is
// allocated, no lock is taken and the stack does not grow.
//
//go:noinline
//go:norace
//go:nocheckptr
func forkPerform(args *cloneArgs, flags uintptr, table *linked, n int, r *report) (uintptr, syscall.Errno) {
	runtimeBeforeFork()
	var pid uintptr
	var errno syscall.Errno
	if args != nil {
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0, 0, 0, 0)
	} else {
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	}
	if errno != 0 || pid != 0 {
		runtimeAfterFork()
		return pid, errno
	}
	runtimeAfterForkInChild()
	perform(table, n, r)
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 127, 0, 0, 0, 0, 0)
	}
}

// perform walks the table; it returns only when an entry failed.
//
//go:nosplit
//go:norace
//go:noinline
//go:nocheckptr
func perform(table *linked, n int, r *report) {
	for i := 0; i < n; {
		e := (*linked)(unsafe.Add(unsafe.Pointer(table), uintptr(i)*unsafe.Sizeof(linked{})))
		i++
		var a [6]uintptr
		for k := 0; k < 6; k++ {
			a[k] = e.args[k]
			if e.slots&(1<<k) != 0 {
				a[k] = r.slots[a[k]%maxSlots]
			}
		}
		switch e.kind {
		case kindJump:
			i = int(e.jump)
			continue
		case kindJumpEq:
			if uint32(a[0]) == uint32(a[1]) {
				i = int(e.jump)
			}
			continue
		case kindExit:
			status := **(**uint32)(unsafe.Pointer(&a[0]))
			code := uintptr(status >> 8 & 0xff)
			if status&0x7f != 0 {
				code = uintptr(128 + status&0x7f)
			}
			syscall.RawSyscall6(unix.SYS_EXIT_GROUP, code, 0, 0, 0, 0, 0)
		case kindNote:
			r.slots[e.out%maxSlots] = a[0]
			continue
		case kindFail:
			r.failed, r.errno = uintptr(i), a[0]
			return
		}
		v, _, errno := syscall.RawSyscall6(e.nr, a[0], a[1], a[2], a[3], a[4], a[5])
		if errno != 0 {
			tolerated := false
			for k := uint8(0); k < e.tolerant; k++ {
				if e.tolerate[k&3] == uintptr(errno) {
					tolerated = true
				}
			}
			if !tolerated {
				r.errno, r.failed = uintptr(errno), uintptr(i)
				return
			}
			if e.onError >= 0 {
				i = int(e.onError)
			}
			continue
		}
		// A forked child's 0 must not overwrite what its parent just stored.
		if e.out >= 0 && (v != 0 || e.jump < 0) {
			r.slots[e.out%maxSlots] = v
		}
		if e.jump >= 0 && v != 0 {
			i = int(e.jump)
		}
	}
	r.errno, r.failed = uintptr(syscall.ENOSYS), uintptr(n)
}
