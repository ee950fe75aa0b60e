//go:build linux

package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// MonitorCommand is the hidden verb under which hod is started again as the
// monitor of one container; cmd hands its arguments to Containers.Monitor.
const MonitorCommand = "__monitor"

// claim takes a stopped container for a monitor to run.
func (cs *Containers) claim(ctx context.Context, ref string) (*Container, *os.File, *State, error) {
	for try := 0; ; try++ {
		c, s, err := cs.Lookup(ctx, ref)
		if err != nil {
			return nil, nil, nil, err
		}
		if s.alive() {
			return c, nil, s, nil
		}
		lock, err := lockMonitor(c)
		if err != nil {
			return nil, nil, nil, err
		}
		if lock != nil {
			return c, lock, s, nil
		}
		// Somebody who waits holds it for an instant, or another start won.
		if try == 100 {
			return nil, nil, nil, fmt.Errorf("start container %s: another hod is starting it", c.Name)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// StartOptions say how start is done. Root names the store for the monitor.
type StartOptions struct {
	Root string
	// Attach connects the three streams before the process runs, so that
	// nothing of its output is missed.
	Attach bool
}

// Start makes a monitor of its own for a container and returns when its process
// runs. A running container is left as it is. With Attach it returns the
// connection to the monitor, for Session.
func (cs *Containers) Start(ctx context.Context, ref string, o StartOptions) (net.Conn, error) {
	c, lock, _, err := cs.claim(ctx, ref)
	if err != nil {
		return nil, err
	}
	if lock == nil {
		if o.Attach {
			return cs.Dial(c)
		}
		return nil, nil
	}
	defer lock.Close()
	return spawn(c, lock, o)
}

// spawn starts hod again. The lock travels as a descriptor, so that at no time
// the container is without a holder of it.
func spawn(c *Container, lock *os.File, o StartOptions) (net.Conn, error) {
	ready, report, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start monitor: %w", err)
	}
	defer ready.Close()
	defer report.Close()
	files := []*os.File{report, lock}
	var conn net.Conn
	if o.Attach {
		ours, theirs, err := socketPair()
		if err != nil {
			return nil, err
		}
		defer theirs.Close()
		conn, files = ours, append(files, theirs)
	}
	cmd := exec.Command("/proc/self/exe", "--root", o.Root, MonitorCommand, c.ID)
	cmd.Args[0] = "hod"
	cmd.Env = append(os.Environ(), "GOGC=20", "GOMEMLIMIT=24MiB")
	cmd.Dir = "/"
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start monitor: %w", err)
	}
	report.Close()
	err = readReport(ready)
	cmd.Process.Release()
	if err != nil && conn != nil {
		conn.Close()
		conn = nil
	}
	return conn, err
}

func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("start monitor: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "attach"), os.NewFile(uintptr(fds[1]), "attach")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("start monitor: %w", err)
	}
	return conn, theirs, nil
}

// reported is the error of another process: what it was, and what to do about it.
type reported struct{ message, hint string }

func (e *reported) Error() string { return e.message }

// Hint is the other process's.
func (e *reported) Hint() string { return e.hint }

// readReport reads what a monitor says of its start: nothing but "ok", or the
// exit code, the message and a hint, which may be empty.
func readReport(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, 64<<10))
	if err != nil {
		return fmt.Errorf("start monitor: %w", err)
	}
	text := string(b)
	if text == "ok" {
		return nil
	}
	code, message, found := strings.Cut(text, " ")
	n, err := strconv.Atoi(code)
	if !found || err != nil {
		return errors.New("start container: its monitor died before the process ran")
	}
	message, hint, _ := strings.Cut(message, "\x00")
	return &ExitError{Code: n, Err: &reported{message, hint}}
}

// Monitor is the life of a monitor process: descriptor 3 takes the report, 4 is
// the lock, and 5, where it is a socket, the first who attaches. hint says what to do
// about an error.
func (cs *Containers) Monitor(ctx context.Context, launcher Launcher, id string, hint func(error) string) error {
	report := os.NewFile(3, "report")
	lock := os.NewFile(4, "lock")
	for _, fd := range []int{3, 4, 5} {
		unix.CloseOnExec(fd)
	}
	c, err := loadContainer(cs.dir + "/" + id)
	if err != nil {
		return err
	}
	m := cs.newMonitor(c, lock, launcher)
	m.started = func(err error) {
		if err == nil {
			io.WriteString(report, "ok")
		} else {
			fmt.Fprintf(report, "%d %s\x00%s", ExitCode(err), err, hint(err))
		}
		report.Close()
		time.AfterFunc(100*time.Millisecond, shrink)
	}
	if first := os.NewFile(5, "attach"); first != nil {
		if conn, err := net.FileConn(first); err == nil {
			go m.attach(conn)
		}
		first.Close()
	}
	_, err = m.run(ctx)
	m.settle()
	return err
}

// Launcher starts the process of a container.
type Launcher func(ctx context.Context, c *Container) (*running, error)

func (cs *Containers) newMonitor(c *Container, lock *os.File, launcher Launcher) *monitor {
	m := &monitor{cs: cs, c: c, lock: lock, launch: launcher, started: func(error) {}}
	if s, err := c.LoadState(); err == nil {
		m.state = *s
		m.state.Restarts = 0
	}
	return m
}

// Foreground is what a container that runs in this process is connected with.
// Nil streams are left out.
type Foreground struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Signals        <-chan os.Signal
	// Sizes and DetachKeys are for a process with a terminal, as in SessionOptions.
	Sizes      <-chan [2]uint16
	DetachKeys []byte
	// Started is called on a goroutine of its own once the process runs.
	Started func()
}

// RunForeground runs a container that this process has just made, and is its
// monitor: its output goes to stdout and stderr, signals received are passed on.
func (cs *Containers) RunForeground(ctx context.Context, launcher Launcher, c *Container, f Foreground) (int, error) {
	lock, err := lockMonitor(c)
	if err != nil {
		return 125, err
	}
	if lock == nil {
		return 125, fmt.Errorf("container %s is running already", c.Name)
	}
	m := cs.newMonitor(c, lock, launcher)
	m.streams.add(f.sink())
	m.started = func(err error) {
		if err == nil && f.Stdin != nil {
			go m.feed(f.Stdin)
		}
		if err == nil && f.Started != nil {
			go f.Started()
		}
	}
	go m.pass(f.Signals)
	last, err := m.run(ctx)
	return last.ExitCode, err
}

// feed carries standard input to the process.
func (m *monitor) feed(r io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		for n > 0 && m.streams.input(buf[:n]) == io.ErrClosedPipe {
			// The process has just started; its input is connected in a moment.
			time.Sleep(time.Millisecond)
			if m.isDone() {
				return
			}
		}
		if err != nil {
			for !m.isDone() && !m.streams.connected() {
				time.Sleep(time.Millisecond)
			}
			m.streams.closeInput()
			return
		}
	}
}

// pass hands signals to the process.
func (m *monitor) pass(signals <-chan os.Signal) {
	for sig := range signals {
		n, ok := sig.(syscall.Signal)
		if !ok || !Passed(n) {
			continue
		}
		m.streams.kill(n)
	}
}
