//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
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
		proc.Close()
		return nil, err
	}
	if p.gates == 2 {
		if err := proc.openGate(); err != nil {
			proc.Close()
			return nil, err
		}
	}
	return proc, nil
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
		p.console, received = ReceiveTerminal(p.program.console)
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

// ReceiveTerminal takes the master of a terminal that comes through a socket.
func ReceiveTerminal(socket *os.File) (*os.File, error) {
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
