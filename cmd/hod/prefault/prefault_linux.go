package prefault

import (
	"syscall"
	"unsafe"
)

// Advice of Linux 5.14; package syscall has no names for it.
const (
	populateRead  = 22
	populateWrite = 23
)

// heapUsed is about what the start of a container allocates.
const heapUsed = 2 << 20

// The linker's addresses: where the code begins, and where data begins that is
// written. What is read only lies between them.
var code, written uintptr

func init() {
	populate(code, written, populateRead)
	// The runtime gives out its heap from the bottom up, and has just begun. Where
	// it begins is random; what it has not mapped yet is left out.
	at := uintptr(unsafe.Pointer(new([512]byte)))
	populate(at, at+heapUsed, populateWrite)
	stretch()
}

// stretch grows the stack of the main goroutine to what a command needs, while
// there is little on it.
//
//go:noinline
func stretch() byte {
	var room [24 << 10]byte
	return room[len(same(room[:]))-1]
}

// same keeps the compiler from seeing that nobody uses the room.
//
//go:noinline
func same(p []byte) []byte { return p }

// populate asks for the pages between two addresses. A kernel that refuses
// leaves things as they were.
func populate(from, to, how uintptr) {
	page := uintptr(syscall.Getpagesize())
	from, to = from&^(page-1), to&^(page-1)
	_, _, _ = syscall.RawSyscall(syscall.SYS_MADVISE, from, to-from, how)
}
