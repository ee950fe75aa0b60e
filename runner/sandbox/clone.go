//go:build linux

package sandbox

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// own clones the child and waits for it, on one thread: the death signal that a
// child asks for comes with the end of the thread that cloned it.
func (p *Process) own(started chan<- error, netns *os.File) {
	runtime.LockOSThread() // and never unlocked where the thread changed its namespace
	if netns != nil {
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			started <- fmt.Errorf("join network: %w", err)
			return
		}
	}
	if ns := p.program.pidns; ns != nil {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWPID); err != nil {
			started <- fmt.Errorf("join process namespace: %w", err)
			return
		}
	}
	if err := p.program.mountSysfs(); err != nil {
		started <- err
		return
	}
	if err := p.clone(); err != nil {
		started <- err
		return
	}
	pid := p.pid
	started <- nil
	if p.program.child < 0 {
		p.waitErr = p.end(pid)
	} else {
		p.waitErr = p.await(pid) // it makes the one that stays
	}
	if c := p.program.child; c >= 0 && p.report.slots[c] != 0 {
		pid = int(p.report.slots[c])
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			p.pid, p.left = pid, os.NewFile(uintptr(fd), "pidfd")
		}
		close(p.joined)
		p.waitErr = p.end(pid)
	} else {
		close(p.joined)
	}
	close(p.exited)
	if netns == nil && p.program.pidns == nil {
		runtime.UnlockOSThread()
	}
}

// mountSysfs puts a sysfs of the calling thread's network in the place of the
// descriptor that the table attaches.
func (p *Program) mountSysfs() error {
	if p.sysfs == nil {
		return nil
	}
	fs, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("mount sysfs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("mount sysfs: %w", err)
	}
	const attrs = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return fmt.Errorf("mount sysfs: %w", err)
	}
	defer unix.Close(fd)
	return unix.Dup3(fd, int(p.sysfs.Fd()), unix.O_CLOEXEC)
}

func (p *Process) await(pid int) error {
	for {
		if _, err := syscall.Wait4(pid, &p.status, 0, nil); err != syscall.EINTR {
			return err
		}
	}
}

// end awaits the end of the process that stays. One that is left to itself is
// left to be reaped, too: by who takes in what the caller leaves behind, who
// would else never hear of its end.
func (p *Process) end(pid int) error {
	if !p.program.leave {
		return p.await(pid)
	}
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != unix.EINTR {
			return err
		}
	}
}

func (p *Process) clone() error {
	table, err := p.program.link()
	if err != nil {
		return err
	}
	var pidfd int32 = -1
	args := &cloneArgs{flags: p.program.flags | unix.CLONE_PIDFD, exitSignal: uint64(unix.SIGCHLD), pidfd: uint64(uintptr(unsafe.Pointer(&pidfd)))}
	syscall.ForkLock.Lock()
	table = p.program.prologue(table)
	pid, errno := uintptr(0), unix.ENOSYS
	if p.program.shared {
		pid, errno, p.hold = sharedClone(*args, table, p.report)
	}
	if errno == unix.ENOSYS || errno == unix.EPERM {
		pid, errno = forkPerform(args, 0, &table[0], len(table), p.report)
	}
	if errno == unix.ENOSYS || errno == unix.EPERM {
		pid, errno = forkPerform(nil, uintptr(p.program.flags), &table[0], len(table), p.report)
	}
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(table)
	runtime.KeepAlive(args)
	runtime.KeepAlive(p.program)
	if errno != 0 {
		return &CloneError{errno}
	}
	p.pid = int(pid)
	if pidfd < 0 {
		fd, err := unix.PidfdOpen(p.pid, 0)
		if err != nil {
			return fmt.Errorf("open process: %w", err)
		}
		pidfd = int32(fd)
	}
	p.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	return nil
}

// prologue puts the closing of every descriptor that the child does not need in
// front of the table: nothing of the parent's leaks, and no other sandbox's
// pipe is held open.
func (p *Program) prologue(table []linked) []linked {
	keep := []int{0, 1, 2}
	for _, f := range p.keep {
		keep = append(keep, int(f.Fd()))
	}
	slices.Sort(keep)
	keep = append(slices.Compact(keep), int(^uint32(0)))
	var head []linked
	for i := 2; i+1 < len(keep); i++ {
		lo, hi := keep[i]+1, keep[i+1]-1
		if i+2 == len(keep) {
			hi++
		}
		if lo <= hi {
			head = append(head, linked{kind: kindCall, nr: unix.SYS_CLOSE_RANGE, args: [6]uintptr{uintptr(lo), uintptr(hi), 0}, out: -1, onError: -1, jump: -1})
		}
	}
	n := int32(len(head))
	for i := range table {
		if table[i].jump >= 0 {
			table[i].jump += n
		}
		if table[i].onError >= 0 {
			table[i].onError += n
		}
	}
	p.shift = int(n)
	return append(head, table...)
}
