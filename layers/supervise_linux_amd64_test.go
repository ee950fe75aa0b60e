package layers

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// trapped are the calls that can change a file system.
var trapped = []uint32{
	unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_COPY_FILE_RANGE, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNCFS,
	unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINK, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_UNLINK,
	unix.SYS_UNLINKAT, unix.SYS_RMDIR, unix.SYS_MKDIR, unix.SYS_MKDIRAT, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FSETXATTR,
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_CHMOD, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_LCHOWN, unix.SYS_UTIMENSAT, unix.SYS_FLOCK,
}

// trapSelf puts all threads under a filter that reports those calls, and hands
// its listener to the parent through descriptor 3.
func trapSelf() error {
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

// outcome of a supervised operation.
type outcome struct {
	calls        int
	hit          int32 // the call that was killed or failed, -1 if none
	acknowledged bool
	code         int
	stderr       string
}

// supervise runs an operation; at call number at (0 never) it kills when fault
// is 0, else it lets the call fail with fault.
func supervise(t *testing.T, op, root string, at int, fault syscall.Errno) outcome {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	var out, stderr bytes.Buffer
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashOp+"="+op, crashRoot+"="+root, crashTrap+"=1", "GOMAXPROCS=2")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &out, &stderr, []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	res := outcome{hit: -1}
	listener, err := receiveFD(ours)
	if err != nil {
		cmd.Wait()
		t.Skipf("no seccomp listener here: %v: %s", err, stderr.String())
	}
	for {
		n, ok := next(listener)
		if !ok {
			break
		}
		res.calls++
		r := response{id: n.id, flags: 1} // go on with the call
		if res.calls == at {
			res.hit = n.nr
			if fault == 0 {
				cmd.Process.Kill()
				break
			}
			r = response{id: n.id, err: -int32(fault)}
		}
		unix.Syscall(unix.SYS_IOCTL, uintptr(listener), 0xc0182101, uintptr(unsafe.Pointer(&r)))
	}
	unix.Close(listener)
	cmd.Wait()
	res.acknowledged, res.code, res.stderr = strings.Contains(out.String(), "acknowledged"), cmd.ProcessState.ExitCode(), stderr.String()
	return res
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
