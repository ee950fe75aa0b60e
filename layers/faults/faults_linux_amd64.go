package faults

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Strikes is how often a fault strikes: so often as a sample, or whole in the long form (HOD_TEST_FULL), which
// HOD_TEST_POINTS cuts.
func Strikes(sample, whole int) int {
	if os.Getenv("HOD_TEST_FULL") == "" {
		return min(sample, whole)
	}
	if most, err := strconv.Atoi(os.Getenv("HOD_TEST_POINTS")); err == nil {
		return min(most, whole)
	}
	return whole
}

// trapped are the calls that can change a file system.
var trapped = []uint32{
	unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_COPY_FILE_RANGE, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNCFS,
	unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINK, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_UNLINK,
	unix.SYS_UNLINKAT, unix.SYS_RMDIR, unix.SYS_MKDIR, unix.SYS_MKDIRAT, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FSETXATTR,
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_CHMOD, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_LCHOWN, unix.SYS_UTIMENSAT, unix.SYS_FLOCK,
}

// Trap puts all threads of this process, and what they start, under a filter that reports those calls, and hands its
// listener to the parent, which called [Strike], through descriptor 3.
func Trap() error {
	var prog []unix.SockFilter
	add := func(code uint16, k uint32, jt, jf uint8) {
		prog = append(prog, unix.SockFilter{Code: code, K: k, Jt: jt, Jf: jf})
	}
	add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, 0)
	add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, unix.SYS_OPENAT, 0, 3)
	add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 32, 0, 0) // the flags of openat
	add(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, unix.O_CREAT, uint8(len(trapped)+1), 0)
	add(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_ALLOW, 0, 0)
	for i, nr := range trapped {
		add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, nr, uint8(len(trapped)-i), 0)
	}
	add(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_ALLOW, 0, 0)
	add(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_USER_NOTIF, 0, 0)
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH)
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return errno
	}
	return unix.Sendmsg(3, []byte{0}, unix.UnixRights(int(fd)), nil, 0)
}

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

// becomeEnv makes a test binary run the command behind it under the filter.
const becomeEnv = "HOD_TEST_STRIKE"

// Command is this test binary, to be started again as argv under the filter.
func Command(argv ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, argv...)
	cmd.Env = append(os.Environ(), becomeEnv+"=1")
	return cmd, nil
}

// Become is for TestMain: where this process was made by [Command] it does not return.
func Become() {
	if os.Getenv(becomeEnv) == "" {
		return
	}
	runtime.LockOSThread()
	err := Trap()
	unix.CloseOnExec(3)
	if err == nil {
		env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, becomeEnv+"=") })
		err = unix.Exec(os.Args[1], os.Args[1:], env)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(125)
}

// Outcome of a command that was struck.
type Outcome struct {
	Calls int   // that were reported
	Hit   int32 // the call that was killed or failed, -1 if none
	Code  int   // exit status, -1 after a kill
}

// ErrNoListener tells that this kernel reports no calls.
var ErrNoListener = errors.New("no seccomp listener here")

// Strike runs cmd, whose ExtraFiles it sets; at call number at (0 never) it kills when fault is 0, else it lets the call
// fail with fault. Where some calls are named, those alone are counted.
func Strike(cmd *exec.Cmd, at int, fault syscall.Errno, only ...int32) (Outcome, error) {
	none := Outcome{Hit: -1}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return none, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return none, err
	}
	listener, err := receiveFD(ours)
	if err != nil {
		_ = cmd.Wait()
		return none, fmt.Errorf("%w: %w", ErrNoListener, err)
	}
	res := listen(cmd, listener, at, fault, only)
	unix.Close(listener)
	_ = cmd.Wait()
	res.Code = cmd.ProcessState.ExitCode()
	return res, nil
}

func listen(cmd *exec.Cmd, listener, at int, fault syscall.Errno, only []int32) Outcome {
	res := Outcome{Hit: -1}
	for {
		n, ok := next(listener)
		if !ok {
			return res
		}
		counted := len(only) == 0 || slices.Contains(only, n.nr)
		if counted {
			res.Calls++
		}
		r := response{id: n.id, flags: 1} // go on with the call
		if counted && res.Calls == at {
			res.Hit = n.nr
			if fault == 0 {
				_ = cmd.Process.Kill()
				return res
			}
			r = response{id: n.id, err: -int32(fault)}
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), 0xc0182101, uintptr(unsafe.Pointer(&r)))
	}
}

func receiveFD(f *os.File) (int, error) {
	c, err := net.FileConn(f)
	if err != nil {
		return -1, err
	}
	defer c.Close()
	oob := make([]byte, 64)
	_, n, _, _, err := c.(*net.UnixConn).ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return -1, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) == 0 {
		return -1, errors.Join(err, io.ErrUnexpectedEOF)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// next waits for a call; false when the process is gone.
func next(listener int) (notification, bool) {
	for {
		p := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, 60_000); err == unix.EINTR {
			continue
		} else if err != nil || p[0].Revents&unix.POLLIN == 0 {
			return notification{}, false
		}
		var n notification
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), 0xc0502100, uintptr(unsafe.Pointer(&n)))
		switch errno {
		case 0:
			return n, true
		case unix.EINTR, unix.ENOENT: // the caller was interrupted
			continue
		}
		return n, false
	}
}
