//go:build linux

package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hodbuild/hod/runner/cgroup"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Runtime is the containers below one folder.
type Runtime struct {
	Root string
	// Cgroups false leaves control groups to the caller.
	NoCgroups bool
}

// container is what a folder remembers.
type container struct {
	specs.State
	Start   uint64            `json:"start"`
	Created time.Time         `json:"created"`
	Groups  map[string]string `json:"groups,omitempty"`
	dir     string
}

// ErrNotExist says that no container has that ID.
var ErrNotExist = errors.New("container does not exist")

// idLetters and maxID are what other runtimes take; an ID is a folder's name.
const (
	idLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-"
	maxID     = 200
)

func (r Runtime) dir(id string) (string, error) {
	if id == "" || len(id) > maxID || strings.Trim(id, idLetters) != "" || id == "." || id == ".." {
		return "", fmt.Errorf("container ID %q: letters, digits, and _ + - . only", id)
	}
	return filepath.Join(r.Root, id), nil
}

func (r Runtime) load(id string) (*container, error) {
	dir, err := r.dir(id)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("container %q: %w", id, ErrNotExist)
	}
	c := &container{dir: dir}
	if err == nil {
		err = json.Unmarshal(text, c)
	}
	if err != nil {
		return nil, fmt.Errorf("read container %q: %w", id, err)
	}
	c.Status = c.now()
	return c, nil
}

// living is a container in one of the states in which it can do what is asked.
func (r Runtime) living(id, what string, in ...specs.ContainerState) (*container, error) {
	c, err := r.load(id)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(in, c.Status) {
		return nil, fmt.Errorf("%s container %q: it is %s", what, id, c.Status)
	}
	return c, nil
}

// StatePaused is runc's word for a container whose processes are stopped.
const StatePaused specs.ContainerState = "paused"

// now is the state as the process and its control group tell it.
func (c *container) now() specs.ContainerState {
	if start, err := startOf(c.Pid); err != nil || start != c.Start {
		return specs.StateStopped
	}
	if c.group().Frozen() {
		return StatePaused
	}
	if _, err := os.Lstat(c.fifo()); err == nil {
		return specs.StateCreated
	}
	return specs.StateRunning
}

func (c *container) fifo() string { return filepath.Join(c.dir, "start") }

func (c *container) save() error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	aside := filepath.Join(c.dir, ".state")
	if err := os.WriteFile(aside, text, 0o600); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return os.Rename(aside, filepath.Join(c.dir, "state.json"))
}

// signal sends to exactly the process that was created.
func (c *container) signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(c.Pid, 0)
	if err != nil {
		return os.ErrProcessDone
	}
	defer unix.Close(fd)
	if c.now() == specs.StateStopped {
		return os.ErrProcessDone
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

func (c *container) group() *cgroup.Group { return cgroup.Open(c.Groups) }

// startOf is the time at which a living process began, in ticks since the boot.
func startOf(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}
