//go:build linux

package sandbox

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hodbuild/hod/layers/userns"
)

// enterFolder begins the name of the steps into the working folder.
const enterFolder = "enter working folder "

// CloneError is the kernel's refusal to make a process with the namespaces of a
// sandbox.
type CloneError struct{ Errno unix.Errno }

func (e *CloneError) Error() string { return e.Errno.Error() }

// Unwrap gives the error number.
func (e *CloneError) Unwrap() error { return e.Errno }

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

// Hint says what is usually wrong where a program cannot be executed or a mount has no place.
func (e *StepError) Hint() string {
	if e.Errno == unix.EMFILE {
		return "" // it says nothing of the step
	}
	if strings.Contains(e.Step, "mount point ") {
		return "the path leads by a link or a file of the image to where nothing can be mounted, as below /proc, /sys or /dev: name another target, or another VOLUME in the recipe"
	}
	if (e.Step == "pivot into the root" || e.Step == "set the host name") && e.Errno == unix.EPERM {
		return "a filter of system calls around hod refuses it: " + userns.Unconfined
	}
	if strings.HasPrefix(e.Step, "make proc ") && e.Errno == unix.EPERM {
		return "the /proc around hod is masked, as in a container: docker run --security-opt systempaths=unconfined (podman: unmask=ALL)"
	}
	name, exec := strings.CutPrefix(e.Step, "exec ")
	switch {
	case !exec:
		return ""
	case e.Errno == unix.ENOENT && strings.HasPrefix(name, `"-`):
		return "flags of hod stand before the image: what follows it is the program and its arguments"
	case e.Errno == unix.ENOENT && !strings.Contains(name, "/"):
		return "no folder of PATH in the image has it: name it by its path, or choose another program"
	case e.Errno == unix.ENOENT:
		return "the image has no such file, or not the interpreter or dynamic loader that it asks for"
	case e.Errno == unix.EACCES:
		return "it is no file, or this user may not execute it: chmod +x in the image, another --user, or a mount that may execute (--tmpfs DIR:exec)"
	case e.Errno == unix.EPERM:
		return "the program's file asks for capabilities that the container may not have: --cap-add gives them"
	}
	return ""
}

// Unwrap gives the error number.
func (e *StepError) Unwrap() error { return e.Errno }

// NoFolder tells that it was the working folder that could not be entered.
func (e *StepError) NoFolder() bool { return strings.HasPrefix(e.Step, enterFolder) }

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
