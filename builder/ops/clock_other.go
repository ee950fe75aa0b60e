//go:build !linux

package ops

import "golang.org/x/sys/unix"

// fileClock is the clock that the kernel gives files their times from.
const fileClock = unix.CLOCK_REALTIME
