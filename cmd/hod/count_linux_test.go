package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/hodbuild/hod/layers/granted"
	"golang.org/x/sys/unix"
)

// effort is what a command asked of the machine: the same on any machine, but
// for the Go runtime's own calls, which depend on the scheduler and are left out.
type effort struct {
	calls     int   // system calls, of it and of all that it started
	processes int   // that it started, itself included
	written   int64 // bytes in calls that write, to anything
	allocs    int   // by hod itself
	memory    int   // bytes that hod itself allocated
}

func (e effort) String() string {
	return fmt.Sprintf("%d calls, %d processes, %d bytes written, %d allocations of %d bytes", e.calls, e.processes, e.written, e.allocs, e.memory)
}

// uncounted are calls whose number depends on who runs when, and sendmsg, which
// hands the listener over.
var uncounted = []uint32{
	unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_CTL, unix.SYS_SCHED_YIELD, unix.SYS_MADVISE,
	unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
	unix.SYS_GETTID, unix.SYS_TGKILL, unix.SYS_RSEQ, unix.SYS_SET_ROBUST_LIST, unix.SYS_GETPID, unix.SYS_RESTART_SYSCALL,
	unix.SYS_SENDMSG,
}

// countEnv makes the test binary run the command behind it under the filter.
const countEnv = "HOD_TEST_COUNT"

// counted becomes the command when this process was started to count it.
func counted() {
	if os.Getenv(countEnv) != "" {
		fmt.Fprintln(os.Stderr, countSelf(os.Args[1:]))
		os.Exit(125)
	}
}

// countSelf puts this thread under a filter that reports all other calls, hands
// the listener to the parent through descriptor 3, and becomes the command.
func countSelf(argv []string) error {
	runtime.LockOSThread()
	prog := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}}
	for i, nr := range uncounted {
		prog = append(prog, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jt: uint8(len(uncounted) - i)})
	}
	prog = append(prog,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	if !granted.Root() {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	rights := make([]byte, unix.CmsgSpace(4))
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return errno
	}
	copy(rights, unix.UnixRights(int(fd)))
	if err := unix.Sendmsg(3, []byte{0}, rights, nil, 0); err != nil {
		return err
	}
	unix.CloseOnExec(3) // counted before the command begins, and so forgotten
	return unix.Exec(argv[0], argv, slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, countEnv+"=") }))
}

// notification is struct seccomp_notif, response struct seccomp_notif_resp.
type notification struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type response struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

const (
	notifyReceive = 0xc0502100
	notifySend    = 0xc0182101
)

// count runs hod in dir and counts.
func count(t *testing.T, dir, root string, args ...string) effort {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	forgetCounts(dir)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{hod}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = dir, out, out, []*os.File{theirs}
	// Preemption by signals would interrupt calls, which then are made again.
	cmd.Env = append(os.Environ(), countEnv+"=1", "HOD_ROOT="+root, "HOD_PROFILE=count", "GOMAXPROCS=2", "GODEBUG=asyncpreemptoff=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	listener, err := receiveFD(ours)
	if err != nil {
		_ = cmd.Wait()
		t.Skipf("no seccomp listener here: %v", err)
	}
	e := listen(listener, cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		text, _ := os.ReadFile(out.Name())
		t.Fatalf("hod %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	e.addCounts(dir)
	return e
}

// listen counts the calls from the execve of the command until all that it
// started have ended.
func listen(listener, first int) effort {
	defer unix.Close(listener)
	var e effort
	began := false
	for called(listener) {
		var n notification
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifyReceive, uintptr(unsafe.Pointer(&n)))
		if errno == unix.EINTR || errno == unix.ENOENT { // that thread was killed meanwhile
			continue
		}
		if errno != 0 {
			break
		}
		if began {
			e.call(n)
		} else if n.nr == unix.SYS_EXECVE {
			began, e.processes = true, 1
		}
		r := response{id: n.id, flags: 1} // go on with the call
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifySend, uintptr(unsafe.Pointer(&r)))
	}
	return e
}

// called waits for a call; false when nobody is left under the filter.
func called(listener int) bool {
	p := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(p, -1)
		if err != unix.EINTR {
			return err == nil && p[0].Revents&unix.POLLIN != 0
		}
	}
}

func (e *effort) call(n notification) {
	switch n.nr {
	case unix.SYS_CLONE:
		if n.args[0]&unix.CLONE_THREAD != 0 {
			return // a thread of the runtime's
		}
		e.processes++
	case unix.SYS_CLONE3:
		e.processes++
	case unix.SYS_EXIT_GROUP:
		e.written += written(int(n.pid))
	}
	if runtime.GOARCH == "amd64" && (n.nr == 57 || n.nr == 58) { // fork and vfork, which no other has
		e.processes++
	}
	e.calls++
}

// written is how much a process has passed to calls that write.
func written(pid int) (n int64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "wchar:"); ok {
			_, _ = fmt.Sscan(rest, &n)
		}
	}
	return n
}

// receiveFD takes the descriptor that countSelf sends.
func receiveFD(from *os.File) (int, error) {
	b, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(from.Fd()), b, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) == 0 {
		return -1, fmt.Errorf("no descriptor came: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// addCounts reads what HOD_PROFILE=count wrote.
func (e *effort) addCounts(dir string) {
	logs, _ := filepath.Glob(filepath.Join(dir, "hod.count.*"))
	for _, l := range logs {
		var allocs, memory int
		b, _ := os.ReadFile(l)
		if n, _ := fmt.Sscanf(string(b), "%d allocations, %d bytes", &allocs, &memory); n == 2 {
			e.allocs, e.memory = e.allocs+allocs, e.memory+memory
		}
	}
}

func forgetCounts(dir string) {
	logs, _ := filepath.Glob(filepath.Join(dir, "hod.count.*"))
	for _, l := range logs {
		_ = os.Remove(l)
	}
}
