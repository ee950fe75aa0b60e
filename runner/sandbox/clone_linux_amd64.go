package sandbox

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

//go:noescape
func cloneShared(args *cloneArgs, size uintptr) (pid, errno uintptr)

// stackSize is what perform and a system call need, with room to spare.
const stackSize = 8 << 10

// sharedClone starts the child in the caller's memory, on a stack of its own:
// no page table is copied and the caller goes on at once. What it returns must
// be kept until the child executed its program.
//
// The child runs none of Go's code but perform, whose stack is not checked; its
// signal handlers are gone (CLONE_CLEAR_SIGHAND), so that no handler of the
// runtime can run in it.
func sharedClone(args cloneArgs, table []linked, r *report) (pid uintptr, errno unix.Errno, hold any) {
	stack := make([]byte, stackSize)
	top := len(stack) - 64
	top -= int((address(stack) + uintptr(top)) % 16)
	for i, arg := range []uintptr{uintptr(unsafe.Pointer(unsafe.SliceData(table))), uintptr(len(table)), uintptr(unsafe.Pointer(r))} {
		binary.NativeEndian.PutUint64(stack[top+8*i:], uint64(arg))
	}
	args.flags |= unix.CLONE_VM | unix.CLONE_CLEAR_SIGHAND
	args.stack, args.stackSize = uint64(address(stack)), uint64(top)
	p, e := cloneShared(&args, unsafe.Sizeof(args))
	return p, unix.Errno(e), [2]any{stack, table}
}
