//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// StepError says which step of a table the kernel refused.
type StepError struct {
	Step  string
	Errno unix.Errno
}

// Error names the step in words.
func (e *StepError) Error() string {
	switch e.Errno {
	case unix.ENOEXEC:
		return e.Step + ": exec format error (made for another architecture, or a script without #!)"
	case unix.ENOENT:
		if strings.HasPrefix(e.Step, "exec ") && !strings.Contains(e.Step, "/") {
			return e.Step + ": executable file not found in $PATH"
		}
	}
	return e.Step + ": " + e.Errno.Error()
}

// Unwrap gives the error number.
func (e *StepError) Unwrap() error { return e.Errno }

// Is matches ErrNotFound and ErrNotExecutable, which have exit codes of their
// own (127 and 126).
func (e *StepError) Is(target error) bool {
	exec := strings.HasPrefix(e.Step, "exec ")
	missing := e.Errno == unix.ENOENT || e.Errno == unix.ENOTDIR
	switch target {
	case ErrNotFound:
		return exec && missing
	case ErrNotExecutable:
		return exec && !missing
	}
	return false
}

// ErrNotFound: the program is not in the container. ErrNotExecutable: it is,
// but cannot be executed.
var (
	ErrNotFound      = errors.New("no such program")
	ErrNotExecutable = errors.New("not executable")
)

// Process is the first process of a sandbox (or one that joined it).
type Process struct {
	pid     int
	pidfd   *os.File
	left    *os.File // of a joining program, the pidfd of the process that stays
	program *Program
	report  *report
	page    []byte
	console *os.File
	exited  chan struct{}
	joined  chan struct{} // closed when pid is that of the process that stays
	status  syscall.WaitStatus
	waitErr error
	release sync.Once
	hold    any // what a child in the parent's memory uses until it executed
}

// PID is the process id as the caller's namespace sees it.
func (p *Process) PID() int { return p.pid }

// Console is the master side of the terminal, nil without one; valid after
// Release.
func (p *Process) Console() *os.File { return p.console }

// Start clones the child, which makes its mounts and then waits at the gate
// until Release; between the two the caller places it in a control group and
// connects its network.
func Start(ctx context.Context, p *Program, netns *os.File) (*Process, error) {
	page, err := unix.Mmap(-1, 0, int(unsafe.Sizeof(report{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map report page: %w", err)
	}
	proc := &Process{program: p, page: page, report: (*report)(unsafe.Pointer(unsafe.SliceData(page))), exited: make(chan struct{}), joined: make(chan struct{})}
	started := make(chan error)
	go proc.own(started, netns)
	if err := <-started; err != nil {
		unix.Munmap(page)
		p.Close()
		return nil, fmt.Errorf("clone sandbox: %w", err)
	}
	if err := errors.Join(ctx.Err(), proc.prepare()); err != nil {
		proc.abort()
		return nil, err
	}
	if p.gates == 2 {
		if err := proc.openGate(); err != nil {
			return nil, err
		}
	}
	return proc, nil
}

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
	p.waitErr = p.await(pid)
	if c := p.program.child; c >= 0 && p.report.slots[c] != 0 {
		pid = int(p.report.slots[c])
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			p.pid, p.left = pid, os.NewFile(uintptr(fd), "pidfd")
		}
		close(p.joined)
		p.waitErr = p.await(pid)
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
		return errno
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

// prepare does what only the parent may do for a child that waits at the gate.
func (p *Process) prepare() error {
	p.program.doneW.Close()
	for _, l := range p.program.limits {
		limit := unix.Rlimit{Cur: l.soft, Max: l.hard}
		if err := unix.Prlimit(p.pid, l.which, &limit, nil); err != nil {
			return fmt.Errorf("set limit %s: %w", l.name, err)
		}
	}
	if adj := p.program.oom; adj != nil {
		file := "/proc/" + strconv.Itoa(p.pid) + "/oom_score_adj"
		if err := os.WriteFile(file, strconv.AppendInt(nil, int64(*adj), 10), 0); err != nil {
			return fmt.Errorf("set the OOM score adjustment: %w", err)
		}
	}
	if err := p.program.maps.write(p.pid); err != nil {
		return err
	}
	return p.program.mapTrees(p.pid)
}

// mapTrees gives the trees that the parent opened the owners that the child's
// user namespace sees.
func (p *Program) mapTrees(pid int) error {
	if len(p.idmap) == 0 {
		return nil
	}
	ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
	if err != nil {
		return fmt.Errorf("open user namespace: %w", err)
	}
	defer ns.Close()
	for _, m := range p.idmap {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
		flags := uint(unix.AT_EMPTY_PATH)
		if m.recursive {
			flags |= unix.AT_RECURSIVE
		}
		if err := unix.MountSetattr(int(m.tree.Fd()), "", flags, &attr); err != nil {
			return fmt.Errorf("map the owners of %q (--userns=host does without): %w", m.tree.Name(), err)
		}
	}
	return nil
}

func (m idMaps) write(pid int) error {
	if len(m.uids) == 0 {
		return nil
	}
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	if m.single {
		if err := os.WriteFile(dir+"setgroups", []byte("deny"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("deny setgroups: %w", err)
		}
	}
	for name, ranges := range map[string][]Range{"uid_map": m.uids, "gid_map": m.gids} {
		var b []byte
		for _, r := range ranges {
			b = fmt.Appendf(b, "%d %d %d\n", r.Inside, r.Outside, r.Count)
		}
		if err := os.WriteFile(dir+name, b, 0); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// Release opens the gate and returns when the program was executed, or with the
// step that failed.
func (p *Process) Release() error {
	var err error
	p.release.Do(func() { err = p.run() })
	return err
}

// openGate lets the child go on.
func (p *Process) openGate() error {
	if _, err := p.program.syncW.Write([]byte{1}); err != nil {
		p.abort()
		return p.Cause(fmt.Errorf("start sandbox: %w", err))
	}
	return nil
}

// Cause is the step that the child failed at, where it did and so made err
// happen, and else err.
func (p *Process) Cause(err error) error {
	if p.report == nil || p.report.failed == 0 {
		return err
	}
	step := "close descriptors"
	if n := int(p.report.failed) - 1 - p.program.shift; n >= 0 && n < len(p.program.entries) {
		step = p.program.entries[n].what
	}
	return &StepError{Step: step, Errno: unix.Errno(p.report.errno)}
}

func (p *Process) run() error {
	if err := p.openGate(); err != nil {
		return err
	}
	var received error
	p.program.closeShared()
	if p.program.console != nil {
		p.console, received = receiveTerminal(p.program.console)
		p.program.console.Close()
	}
	p.program.doneR.Read(make([]byte, 1)) // end of file: execve happened or the child is gone
	p.hold = nil
	defer p.program.Close()
	if p.program.child >= 0 {
		<-p.joined
		if p.left != nil {
			p.pidfd.Close()
			p.pidfd = p.left
		}
	}
	if err := p.Cause(nil); err != nil {
		p.abort()
		return err
	}
	if received != nil {
		p.abort()
		return fmt.Errorf("receive terminal: %w", received)
	}
	return nil
}

// closeShared closes the parent's copies of what only the child uses.
func (p *Program) closeShared() {
	for _, f := range p.own {
		if f != p.doneR {
			f.Close()
		}
	}
	p.own = []*os.File{p.doneR}
}

func receiveTerminal(socket *os.File) (*os.File, error) {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) == 0 {
		return nil, errors.New("the sandbox ended before it opened one")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("unexpected message: %w", err)
	}
	unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

func (p *Process) abort() {
	p.Signal(unix.SIGKILL)
	<-p.exited
	p.program.Close()
}

// Signal sends sig to the process and to no other one.
func (p *Process) Signal(sig unix.Signal) error {
	err := unix.PidfdSendSignal(int(p.pidfd.Fd()), sig, nil, 0)
	if err == unix.ESRCH {
		return os.ErrProcessDone
	}
	return err
}

// Kill ends the process; as the first of its process namespace it takes all
// others with it.
func (p *Process) Kill() error { return p.Signal(unix.SIGKILL) }

// Wait returns when the process has ended and was reaped.
func (p *Process) Wait() (syscall.WaitStatus, error) {
	<-p.exited
	return p.status, p.waitErr
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Close releases what the parent holds. The process must have ended or is left
// to itself.
func (p *Process) Close() error {
	p.program.Close()
	if p.console != nil {
		p.console.Close()
	}
	select {
	case <-p.exited:
		if p.page != nil {
			unix.Munmap(p.page)
			p.page, p.report = nil, nil
		}
	default:
	}
	return p.pidfd.Close()
}
