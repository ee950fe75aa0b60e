package runner

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// running is a container's process seen from its monitor: the sandbox's own
// process, or that of another OCI runtime.
type running struct {
	pid    int
	cgroup string
	// console is the master of the terminal, nil without one. Without a
	// terminal stdin (nil when nobody feeds it), stdout and stderr are pipes.
	console, stdin, stdout, stderr *os.File
	network                        *NetworkState
	// wait blocks until the process is gone and everything of the sandbox is
	// taken away: its control groups, its network, its mounts.
	wait   func() (lastExit, error)
	signal func(unix.Signal) error
	// exec runs a health check and returns its exit code and output.
	exec func(ctx context.Context, args []string) (int, []byte, error)
}
