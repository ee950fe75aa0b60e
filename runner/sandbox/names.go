//go:build linux

package sandbox

import (
	"golang.org/x/sys/unix"
)

// callNames are the system calls that tables are made of.
var callNames = map[uintptr]string{
	unix.SYS_CAPSET: "capset", unix.SYS_CHDIR: "chdir", unix.SYS_CLONE: "clone", unix.SYS_CLOSE: "close",
	unix.SYS_CLOSE_RANGE: "close_range", unix.SYS_DUP3: "dup3", unix.SYS_EXECVE: "execve", unix.SYS_EXIT_GROUP: "exit_group", unix.SYS_FACCESSAT: "faccessat", unix.SYS_FCHDIR: "fchdir",
	unix.SYS_FCHOWN: "fchown", unix.SYS_FCHOWNAT: "fchownat", unix.SYS_FSCONFIG: "fsconfig",
	unix.SYS_FSMOUNT: "fsmount", unix.SYS_FSOPEN: "fsopen", unix.SYS_IOCTL: "ioctl", unix.SYS_KEYCTL: "keyctl",
	unix.SYS_KILL: "kill", unix.SYS_MKDIRAT: "mkdirat",
	unix.SYS_LANDLOCK_CREATE_RULESET: "landlock_create_ruleset", unix.SYS_LANDLOCK_RESTRICT_SELF: "landlock_restrict_self",
	unix.SYS_MKNODAT: "mknodat", unix.SYS_MOUNT: "mount",
	unix.SYS_MOUNT_SETATTR: "mount_setattr", unix.SYS_MOVE_MOUNT: "move_mount", unix.SYS_OPENAT2: "openat2",
	unix.SYS_OPEN_TREE: "open_tree", unix.SYS_PERSONALITY: "personality", unix.SYS_PIVOT_ROOT: "pivot_root", unix.SYS_PRCTL: "prctl",
	unix.SYS_READ: "read", unix.SYS_RT_SIGACTION: "rt_sigaction", unix.SYS_RT_SIGPROCMASK: "rt_sigprocmask", unix.SYS_RT_SIGTIMEDWAIT: "rt_sigtimedwait",
	unix.SYS_SECCOMP: "seccomp", unix.SYS_SENDMSG: "sendmsg", unix.SYS_SETDOMAINNAME: "setdomainname",
	unix.SYS_SETGROUPS: "setgroups", unix.SYS_SETHOSTNAME: "sethostname", unix.SYS_SETNS: "setns",
	unix.SYS_SETRESGID: "setresgid", unix.SYS_SETRESUID: "setresuid", unix.SYS_SETSID: "setsid",
	unix.SYS_SOCKET: "socket", unix.SYS_SYMLINKAT: "symlinkat", unix.SYS_UMASK: "umask", unix.SYS_UMOUNT2: "umount2",
	unix.SYS_UNSHARE: "unshare", unix.SYS_WAIT4: "wait4", unix.SYS_WRITE: "write",
}
