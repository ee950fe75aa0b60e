// Package granted tells tests what this machine grants them, so that a test that
// needs more is skipped by name. To be user 0 is not enough: root of an ordinary
// container may neither mount nor make namespaces.
package granted

import (
	"os"
	"os/exec"
	"sync"
	"testing"
)

// Root says whether this process is root and may do what root does: make
// namespaces, and so mount.
func Root() bool { return os.Geteuid() == 0 && mounts() }

// Namespaces says whether the kernel makes a user namespace for this process.
func Namespaces() bool { return users() }

// NeedRoot skips a test that is not run as root with all rights.
func NeedRoot(t testing.TB, what string) {
	t.Helper()
	if !Root() {
		t.Skip("needs root that may make namespaces: " + what)
	}
}

// NeedNamespaces skips a test where no process can be isolated.
func NeedNamespaces(t testing.TB, what string) {
	t.Helper()
	if !Root() && !Namespaces() {
		t.Skip("needs namespaces, which the kernel or a container around refuses: " + what)
	}
}

// The answers do not change while a test runs, and each costs a process.
var (
	mounts = sync.OnceValue(func() bool { return exec.Command("unshare", "--mount", "true").Run() == nil })
	users  = sync.OnceValue(func() bool { return exec.Command("unshare", "--user", "true").Run() == nil })
)
