//go:build linux

package network

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// In calls do on a thread that is inside the network namespace ns. The thread
// dies afterwards, so nobody else ever runs in the wrong namespace.
func In(ns *os.File, do func()) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		do()
		result <- nil
	}()
	return <-result
}

// NewNamespace makes an empty network namespace with its loopback device up. It
// lives as long as the file, or a process in it.
func NewNamespace() (*os.File, error) {
	type answer struct {
		f   *os.File
		err error
	}
	result := make(chan answer, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- answer{nil, fmt.Errorf("make network namespace: %w", err)}
			return
		}
		f, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err == nil {
			// Docker's two: low ports and ping need no privilege inside.
			writeSysctl("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
			writeSysctl("/proc/sys/net/ipv4/ping_group_range", "0\t2147483647")
		}
		result <- answer{f, err}
	}()
	a := <-result
	return a.f, a.err
}
