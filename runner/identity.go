//go:build linux

package runner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// bootID names the present boot of the machine.
var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
})

// processStart is the time, in ticks since the boot, at which a process began.
// Number and start together name a process for as long as the boot lasts.
func processStart(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, unix.ESRCH) { // it ended between opening and reading
		return 0, os.ErrProcessDone
	}
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses and may hold anything.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("read start of process %d: short answer", pid)
	}
	if fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// openProcess returns a descriptor of exactly the process that state names, or
// os.ErrProcessDone. Signals sent through it cannot meet a later process.
func openProcess(s *State) (int, error) {
	if s.Pid <= 0 || s.BootID != bootID() {
		return -1, os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(s.Pid, 0)
	if err != nil {
		return -1, os.ErrProcessDone
	}
	start, err := processStart(s.Pid)
	if err != nil || start != s.PidStart {
		unix.Close(fd)
		return -1, os.ErrProcessDone
	}
	return fd, nil
}
