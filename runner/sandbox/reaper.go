//go:build linux

package sandbox

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// initProcess makes the child stay as pid 1: it forks the program, passes every
// signal on to it, reaps whatever dies, and exits with the program's status.
// All of it is system calls of the table.
func (c *compiler) initProcess() {
	all := make([]byte, 8)
	for i := range all {
		all[i] = 0xff
	}
	// SIGCHLD is awaited, so it must not be ignored and must be blocked.
	c.call("block signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, all, 0, 8)
	pid := c.bytes(make([]byte, 4), "&pid")
	fork := c.call("fork the program", unix.SYS_CLONE, int(unix.SIGCHLD)|unix.CLONE_CHILD_SETTID, 0, 0, pid, pid) // one is for threads
	child := c.result(fork)
	at := c.here() - 1
	if c.o.Terminal { // it is this session's: the keys that send signals are for the program's group and not for pid 1
		c.call("lead a process group", unix.SYS_SETPGID, 0, 0)
		c.call("take the terminal", unix.SYS_IOCTL, 0, int(unix.TIOCSPGRP), pid)
	} else {
		c.call("start a session", unix.SYS_SETSID).accept(unix.EPERM)
	}
	c.call("unblock signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, make([]byte, 8), 0, 8)
	skip := c.jump("the program goes on")
	c.entries[at].jump = c.here()
	c.reap(child, all)
	c.entries[skip].jump = c.here()
}

// hideParent takes from pid 1 what it has of the program that started it: its
// memory and environment cannot be read, and its command line is overwritten
// with zeros. The memory is the child's own copy.
func (c *compiler) hideParent() {
	c.call("hide pid 1", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	first := uintptr(unsafe.Pointer(unsafe.StringData(os.Args[0])))
	last := os.Args[len(os.Args)-1]
	end := uintptr(unsafe.Pointer(unsafe.StringData(last))) + uintptr(len(last))
	if end <= first || end-first > 1<<21 {
		return // not as the kernel laid it out
	}
	at := c.here()
	zero := c.result(c.open("hide pid 1's command line", "/dev/zero", unix.O_RDONLY, false).accept(unix.ENOENT, unix.EACCES, unix.EPERM))
	c.call("hide pid 1's command line", unix.SYS_READ, zero, first, int(end-first))
	c.entries[at].onError = c.here()
}

func (c *compiler) reap(child slot, all []byte) {
	jumpEq := func(what string, a, b any) int {
		c.entries = append(c.entries, entry{kind: kindJumpEq, what: what, args: [6]any{a, b}, out: -1, onError: -1, jump: -1})
		return c.here() - 1
	}
	// Twice: to hide takes a descriptor, which a small limit may leave none for.
	c.call("close descriptors of pid 1", unix.SYS_CLOSE_RANGE, 3, int(^uint32(0)), 0)
	c.hideParent()
	c.call("close descriptors of pid 1", unix.SYS_CLOSE_RANGE, 3, int(^uint32(0)), 0)
	loop := c.here()
	wait := c.call("await a signal", unix.SYS_RT_SIGTIMEDWAIT, all, 0, 0, 8).accept(unix.EINTR, unix.EAGAIN)
	wait.onError = loop
	signal := c.result(wait)
	chld := jumpEq("a child ended?", signal, int(unix.SIGCHLD))
	c.call("pass the signal on", unix.SYS_KILL, child, signal).accept(unix.ESRCH, unix.EPERM, unix.EINVAL)
	again := c.jump("await the next")
	c.entries[again].jump = loop
	c.entries[chld].jump = c.here()
	status := c.bytes(make([]byte, 8), "&status")
	reap := c.here()
	w := c.call("reap", unix.SYS_WAIT4, -1, status, unix.WNOHANG, 0).accept(unix.ECHILD, unix.EINTR)
	w.onError = loop
	dead := c.result(w)
	none := jumpEq("nobody left?", dead, 0)
	c.entries[none].jump = loop
	ours := jumpEq("was it the program?", dead, child)
	more := c.jump("reap the next")
	c.entries[more].jump = reap
	c.entries[ours].jump = c.here()
	c.entries = append(c.entries, entry{kind: kindExit, what: "exit as the program did", args: [6]any{status}, out: -1, onError: -1, jump: -1})
}
