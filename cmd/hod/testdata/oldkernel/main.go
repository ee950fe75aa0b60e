//go:build linux && amd64

// Oldkernel executes the hod beside it (real/hod) as if the kernel were older:
// uname says 5.15, system calls that came after it, and Landlock, answer ENOSYS,
// and an overlay's lowerdir+ (6.7) answers EINVAL. OLDKERNEL names further calls
// that shall be missing, by number, separated by commas.
//
// Some of this needs the memory of the caller, which no filter can read: a
// second process looks at it for as long as anybody lives under the filter.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	firstNewer = 449 // futex_waitv, Linux 5.16
	recv       = 0xc0502100
	send       = 0xc0182101
)

func main() {
	if len(os.Args) == 1 && os.Args[0] == "supervise" {
		supervise()
		return
	}
	self, err := os.Executable()
	check(err)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check(err)
	other := exec.Cmd{Path: self, Args: []string{"supervise"}, ExtraFiles: []*os.File{os.NewFile(uintptr(pair[1]), "socket")}, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	check(other.Start())
	runtime.LockOSThread()
	listener := install()
	check(unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(listener), nil, 0))
	unix.Close(listener)
	check(syscall.Exec(filepath.Join(filepath.Dir(self), "real", "hod"), os.Args, os.Environ()))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "oldkernel:", err)
		os.Exit(1)
	}
}

func install() int {
	nosys := uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)
	stmt := func(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }
	jump := func(code uint16, k uint32, jt, jf uint8) unix.SockFilter {
		return unix.SockFilter{Code: code, K: k, Jt: jt, Jf: jf}
	}
	const ld, jeq, jge, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	code := []unix.SockFilter{stmt(ld, 0), jump(jge, firstNewer, 0, 1), stmt(ret, nosys)}
	missing := []uint32{unix.SYS_LANDLOCK_CREATE_RULESET}
	for _, n := range strings.Split(os.Getenv("OLDKERNEL"), ",") {
		if nr, err := strconv.Atoi(n); err == nil {
			missing = append(missing, uint32(nr))
		}
	}
	for _, nr := range missing {
		code = append(code, jump(jeq, nr, 0, 1), stmt(ret, nosys))
	}
	code = append(code,
		jump(jeq, unix.SYS_UNAME, 0, 1), stmt(ret, unix.SECCOMP_RET_USER_NOTIF),
		jump(jeq, unix.SYS_FSCONFIG, 0, 3), stmt(ld, 24), jump(jeq, unix.FSCONFIG_SET_STRING, 0, 1), stmt(ret, unix.SECCOMP_RET_USER_NOTIF),
		stmt(ret, unix.SECCOMP_RET_ALLOW))
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	if os.Geteuid() != 0 {
		check(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		check(fmt.Errorf("load filter: %w", errno))
	}
	return int(fd)
}

type notif struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type answer struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

func supervise() {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(3, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC)
	check(err)
	unix.Close(3)
	messages, err := unix.ParseSocketControlMessage(control[:n])
	check(err)
	fds, err := unix.ParseUnixRights(&messages[0])
	check(err)
	for {
		poll := []unix.PollFd{{Fd: int32(fds[0]), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil && err != unix.EINTR || poll[0].Revents&unix.POLLHUP != 0 {
			return // nobody is left
		}
		var in notif
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fds[0]), recv, uintptr(unsafe.Pointer(&in))); errno != 0 {
			continue
		}
		out := answer{id: in.id, flags: 1} // go on
		if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", in.pid)); in.nr == unix.SYS_UNAME && strings.HasPrefix(filepath.Base(exe), "hod") {
			out.flags, out.err = 0, oldName(in)
		} else if in.nr == unix.SYS_FSCONFIG && layerApart(in) {
			out.flags, out.err = 0, -int32(unix.EINVAL)
		}
		unix.Syscall(unix.SYS_IOCTL, uintptr(fds[0]), send, uintptr(unsafe.Pointer(&out)))
	}
}

// oldName answers hod's uname. What runs in a container asks the kernel, which
// knows its hostname.
func oldName(in notif) int32 {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return -int32(unix.EFAULT)
	}
	u.Release = [65]byte{}
	copy(u.Release[:], "5.15.0")
	local := unix.Iovec{Base: (*byte)(unsafe.Pointer(&u)), Len: uint64(unsafe.Sizeof(u))}
	if _, err := unix.ProcessVMWritev(int(in.pid), []unix.Iovec{local}, []unix.RemoteIovec{{Base: uintptr(in.args[0]), Len: int(unsafe.Sizeof(u))}}, 0); err != nil {
		return -int32(unix.EFAULT)
	}
	return 0
}

// layerApart says whether an fsconfig names one layer of an overlay.
func layerApart(in notif) bool {
	key := make([]byte, 10)
	local := unix.Iovec{Base: &key[0], Len: 10}
	_, err := unix.ProcessVMReadv(int(in.pid), []unix.Iovec{local}, []unix.RemoteIovec{{Base: uintptr(in.args[2]), Len: 10}}, 0)
	return err == nil && string(key) == "lowerdir+\x00"
}
