//go:build !linux

package userns

import (
	"errors"
	"os"
	"runtime"
	"syscall"
)

var errLinux = errors.New("user namespaces are Linux's: this is " + runtime.GOOS)

// RefusedError says that no namespace can be had.
type RefusedError struct{ err error }

func (e *RefusedError) Error() string { return e.err.Error() }

// Unwrap gives the reason.
func (e *RefusedError) Unwrap() error { return e.err }

// Enter starts hod inside of a user namespace: there are none on this system.
func Enter(Map, *os.File, ...string) (int, error) { return 0, &RefusedError{errLinux} }

// Entered is the beginning of a program that [Enter] starts.
func Entered() error { return nil }

// AsUser changes nothing where there are no namespaces.
func AsUser(a *syscall.SysProcAttr) *syscall.SysProcAttr { return a }

// Given is nothing where there is no [Enter].
func Given() *os.File { return nil }

// Inside says whether this process was started by [Enter].
func Inside() bool { return false }

// File gives the descriptor of a new user namespace: there are none on this system.
func File(Map) (*os.File, error) { return nil, errLinux }

// IDMapTree shows a folder with other owners: not on this system.
func IDMapTree(string, *os.File) (*os.File, error) { return nil, errLinux }

// Powerless says that root may not mount.
func Powerless() bool { return false }

func everybody() (Map, error) { return Map{}, errLinux }

func invoker() (uid, gid int, ok bool) { return 0, 0, false }
