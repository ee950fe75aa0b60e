//go:build linux

package userns

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The variables by which a hod knows that it was started inside of a namespace: gated while it has to wait for the map,
// entered with the user and group who started it.
const (
	gated   = "_HOD_GATE"
	entered = "_HOD_USER"
	handed  = "_HOD_GIVEN"
)

// Enter starts this program again with the same arguments, as root of a new user namespace with the map m and of a
// mount namespace of its own, waits for it and tells its exit code. env is added to its environment, and given, if not nil,
// is what [Given] opens there. Signals are passed on; if the caller dies the other one is killed. It is for a process that has done nothing yet.
func Enter(m Map, given *os.File, env ...string) (code int, err error) {
	if err := m.Validate(); err != nil {
		return 0, err
	}
	runtime.LockOSThread() // whose end would be taken for the death of the caller
	defer runtime.UnlockOSThread()
	gate, open, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("enter user namespace: %w", err)
	}
	defer gate.Close()
	defer open.Close()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{gate}
	if given != nil {
		cmd.ExtraFiles, env = append(cmd.ExtraFiles, given), append(env, handed+"=4")
	}
	cmd.Env = append(append(os.Environ(), env...), gated+"=3", fmt.Sprintf("%s=%d:%d", entered, os.Geteuid(), os.Getegid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
		// Before there is a map no user is root, and execve would take all capabilities.
		AmbientCaps: allCaps(),
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, Refused(err)
	}
	if err := m.write(cmd.Process.Pid); err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return 0, err
	}
	open.Write([]byte{1})
	return attend(cmd, signals)
}

// readNumber is a number of the kernel's, -1 where there is none.
func readNumber(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return -1
	}
	return n
}

func allCaps() []uintptr {
	last := readNumber("/proc/sys/kernel/cap_last_cap")
	if last < 0 {
		last = unix.CAP_LAST_CAP
	}
	caps := make([]uintptr, 0, last+1)
	for c := range last + 1 {
		caps = append(caps, uintptr(c))
	}
	return caps
}

// write gives a new namespace its map: by itself where it is the caller's own id, else by the helpers.
func (m Map) write(pid int) error {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	if m.Single() {
		if err := os.WriteFile(dir+"setgroups", []byte("deny"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("deny setgroups: %w", err)
		}
	}
	for _, one := range []struct {
		file, helper string
		ranges       []Range
	}{{"uid_map", "newuidmap", m.UIDs}, {"gid_map", "newgidmap", m.GIDs}} {
		args := []string{strconv.Itoa(pid)}
		var text strings.Builder
		for _, r := range one.ranges {
			line := []string{fmt.Sprint(r.Inside), fmt.Sprint(r.Outside), fmt.Sprint(r.Count)}
			args = append(args, line...)
			fmt.Fprintln(&text, strings.Join(line, " "))
		}
		if m.Single() || os.Geteuid() == 0 {
			if err := os.WriteFile(dir+one.file, []byte(text.String()), 0); err != nil {
				return Refused(err)
			}
			continue
		}
		if out, err := exec.Command(one.helper, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("map ids: %s: %w: %s", one.helper, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// attend passes signals on until the end. What a terminal sends goes to both processes, so it is not sent twice.
func attend(cmd *exec.Cmd, signals <-chan os.Signal) (int, error) {
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case sig := <-signals:
				switch sig {
				case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGWINCH, unix.SIGTTIN, unix.SIGTTOU:
				case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGCONT:
					if !foreground() {
						cmd.Process.Signal(sig)
					}
				default:
					cmd.Process.Signal(sig)
				}
			}
		}
	}()
	err := cmd.Wait()
	close(done)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return 128 + int(s.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// foreground says whether this process is one of those that the terminal's keys reach.
func foreground() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// Entered is the beginning of a program that [Enter] starts: it waits until the map is written. In any other one it
// does nothing.
func Entered() error {
	if os.Getenv(gated) != "3" {
		return nil
	}
	os.Unsetenv(gated)
	gate := os.NewFile(3, "gate")
	unix.CloseOnExec(3)
	if os.Getenv(handed) != "" {
		unix.CloseOnExec(4)
	}
	defer gate.Close()
	if n, err := gate.Read(make([]byte, 1)); n != 1 || err != nil && err != io.EOF {
		return errors.New("enter user namespace: the process that made it is gone")
	}
	// Root needs them no longer, and nobody else shall have them.
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0)
	if errno == unix.ENOTSUP {
		return errors.New("enter user namespace: this hod was built with cgo: CGO_ENABLED=0 go build makes one that works without root")
	}
	if errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	return nil
}

// AsUser changes the attributes of a child process (nil: none yet) that must see itself as the user who started hod and
// not as root: it gets a namespace of its own in which the user has the own number again. Outside of a namespace of
// [Enter] they stay as they are.
func AsUser(a *syscall.SysProcAttr) *syscall.SysProcAttr {
	uid, gid, ok := invoker()
	if !ok {
		return a
	}
	if a == nil {
		a = &syscall.SysProcAttr{}
	}
	a.Cloneflags |= unix.CLONE_NEWUSER
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: 0, Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: 0, Size: 1}}
	return a
}

// Given is the file that was given to [Enter], nil if there was none; the first caller owns it.
func Given() *os.File {
	if !Inside() || os.Getenv(handed) != "4" {
		return nil
	}
	os.Unsetenv(handed)
	return os.NewFile(4, "given")
}

// Inside says whether this process was started by [Enter].
func Inside() bool {
	_, _, ok := invoker()
	return ok
}

func invoker() (uid, gid int, ok bool) {
	u, g, ok := strings.Cut(os.Getenv(entered), ":")
	if !ok || os.Geteuid() != 0 {
		return 0, 0, false
	}
	uid, uerr := strconv.Atoi(u)
	gid, gerr := strconv.Atoi(g)
	return uid, gid, uerr == nil && gerr == nil
}
