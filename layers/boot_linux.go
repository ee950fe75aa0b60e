package layers

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// bootID names this boot of the machine.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(b), err
}

// bootSeconds is a clock that never jumps, shared by all processes of a boot.
func bootSeconds() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Now().Unix()
	}
	return ts.Sec
}

// beginWriting has the kernel begin to write a range of a file to its disk. Where it
// cannot, the sync does all of it.
func beginWriting(f *os.File, from, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), from, n, unix.SYNC_FILE_RANGE_WRITE)
}

// syncFS makes everything on a file's file system durable.
func syncFS(f *os.File) error { return unix.Syncfs(int(f.Fd())) }
