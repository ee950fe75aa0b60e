//go:build linux

package userns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// RefusedError says that the kernel makes no namespace for this process, and why.
type RefusedError struct {
	err    error
	remedy string
}

func (e *RefusedError) Error() string { return "make namespaces: " + e.err.Error() }

// Unwrap is what the kernel answered.
func (e *RefusedError) Unwrap() error { return e.err }

// Hint is what would make it answer otherwise.
func (e *RefusedError) Hint() string { return e.remedy }

// kinds are the namespaces that the kernel counts.
var kinds = []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"}

// Refused explains an error of a call that makes namespaces, or writes the map of one.
func Refused(err error) error {
	var call *fs.PathError
	if errors.As(err, &call) { // of starting this program again, which is not what was refused
		err = call.Err
	}
	for _, kind := range kinds {
		name := "user.max_" + kind + "_namespaces"
		if readNumber("/proc/sys/user/max_"+kind+"_namespaces") == 0 {
			return &RefusedError{fmt.Errorf("%s is 0 here (%w)", name, err), "as root: sysctl " + name + "=10000"}
		}
	}
	e := &RefusedError{err: err}
	switch {
	case readNumber("/proc/sys/kernel/unprivileged_userns_clone") == 0:
		e.remedy = "as root: sysctl kernel.unprivileged_userns_clone=1"
	case readNumber("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1:
		e.remedy = "AppArmor restricts them: give hod a profile with userns, or as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		e.remedy = "too many are in use, or they are nested too deep: /proc/sys/user/ has the limits"
	case !errors.Is(err, unix.EPERM):
	case filtered():
		e.remedy = "a filter of system calls refuses them, as Docker's default does: " + Unconfined
	case os.Geteuid() == 0 && !has(unix.CAP_SETFCAP):
		e.remedy = "root without CAP_SETFCAP may not be root of a namespace: run hod as another user (docker run -u 1000) or with that capability (--cap-add SETFCAP)"
	default:
		e.remedy = "a chroot or a container around hod refuses them: run hod outside of it, or give it less to refuse, as docker run --privileged does"
	}
	return e
}

// Unconfined is how a container around hod has neither Docker's filter nor a masked /proc, of which the kernel lets
// nobody make another.
const Unconfined = "docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined (podman: unmask=ALL) lets hod run as a user"

// filtered says whether system calls of this process pass a filter.
func filtered() bool {
	status, err := os.ReadFile("/proc/self/status")
	return err == nil && strings.Contains(string(status), "\nSeccomp:\t2\n")
}
