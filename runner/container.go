//go:build linux

package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hodbuild/hod/layers/lockfile"
)

// Container is one container's record: what create decided. Only its name may
// change later. Each container owns the folder Dir, in which lie
//
//	config.json   the record
//	state.json    State, replaced as a whole at each change
//	monitor       locked by the monitor for as long as it lives; holds the last exit
//	attach.sock   where the monitor hears attach, resize and wait
//	log.json      what the process wrote, with log.json.1 … after rotation
//	upper, work   the writable layer
//	hosts, resolv.conf, hostname
type Container struct {
	ID      string
	Name    string
	Created time.Time
	// Image is the name asked for, ImageID the digest of its configuration.
	Image   string
	ImageID string
	// Chain holds the image's diffIDs from the base up.
	Chain   []string
	Config  ImageConfig
	Options ContainerOptions
	// Path and Args are the command that follows from both.
	Path string
	Args []string
	// Volumes names the volumes in use; those of Anonymous go with the container.
	Volumes   []string `json:",omitempty"`
	Anonymous []string `json:",omitempty"`
	// Ranges: the first host id of the container's own range, 0: none.
	IDBase uint32 `json:",omitempty"`

	Dir string `json:"-"`
}

// Status is docker's word for where a container stands in its life.
type Status string

// The states of a container.
const (
	StatusCreated    Status = "created"
	StatusRunning    Status = "running"
	StatusPaused     Status = "paused"
	StatusRestarting Status = "restarting"
	StatusExited     Status = "exited"
	StatusDead       Status = "dead"
)

// State is the changing part of a container. It names the boot and the start
// time of the processes it speaks of, so that after a reboot, or when a number
// was given to another process, nobody takes a stranger for the container.
type State struct {
	Status     Status
	Pid        int    `json:",omitempty"`
	PidStart   uint64 `json:",omitempty"`
	MonitorPid int    `json:",omitempty"`
	BootID     string `json:",omitempty"`
	StartedAt  time.Time
	FinishedAt time.Time
	ExitCode   int
	OOMKilled  bool   `json:",omitempty"`
	Error      string `json:",omitempty"`
	Restarts   int    `json:",omitempty"`
	// Cgroup is where the process's control groups are.
	Cgroup  string        `json:",omitempty"`
	Network *NetworkState `json:",omitempty"`
	Health  *HealthState  `json:",omitempty"`
}

// NetworkState says how a running container is connected.
type NetworkState struct {
	Mode    string
	Bridge  string        `json:",omitempty"`
	Link    string        `json:",omitempty"` // the host's end of the veth pair
	IPv4    string        `json:",omitempty"`
	IPv6    string        `json:",omitempty"`
	Gateway string        `json:",omitempty"`
	MAC     string        `json:",omitempty"`
	Ports   []PortMapping `json:",omitempty"`
}

// HealthState is the answer of the last probes.
type HealthState struct {
	Status        string // starting, healthy, unhealthy
	FailingStreak int
	Log           []HealthProbe
}

// HealthProbe is one run of a health check; Output is cut at 4 KiB.
type HealthProbe struct {
	Start, End time.Time
	ExitCode   int
	Output     string
}

// Running reports whether the container has a process, paused or not.
func (s *State) Running() bool {
	return s.Status == StatusRunning || s.Status == StatusPaused
}

func (c *Container) file(name string) string { return filepath.Join(c.Dir, name) }

// ShortID is the first twelve digits of the identity.
func (c *Container) ShortID() string { return c.ID[:12] }

// StopTimeout is how long stop waits before it kills.
func (c *Container) StopTimeout() time.Duration {
	switch {
	case c.Options.StopTimeout != nil:
		return time.Duration(*c.Options.StopTimeout) * time.Second
	case c.Config.StopTimeout != nil:
		return time.Duration(*c.Config.StopTimeout) * time.Second
	}
	return 10 * time.Second
}

// Labels are the image's with the container's own above them.
func (c *Container) Labels() map[string]string {
	all := map[string]string{}
	for k, v := range c.Config.Labels {
		all[k] = v
	}
	for k, v := range c.Options.Labels {
		all[k] = v
	}
	return all
}

func (c *Container) save() error {
	return writeJSON(c.file("config.json"), c)
}

// LoadState reads the state as it was last written; Containers.Lookup compares
// it with what is true.
func (c *Container) LoadState() (*State, error) {
	var s State
	if err := readJSON(c.file("state.json"), &s); err != nil {
		return nil, fmt.Errorf("read state of container %s: %w", c.ShortID(), err)
	}
	return &s, nil
}

func (c *Container) saveState(s *State) error {
	return writeJSON(c.file("state.json"), s)
}

func loadContainer(dir string) (*Container, error) {
	c := &Container{Dir: dir}
	if err := readJSON(filepath.Join(dir, "config.json"), c); err != nil {
		return nil, err
	}
	if c.ID != filepath.Base(dir) {
		return nil, fmt.Errorf("container record in %q speaks of %q", dir, c.ID)
	}
	return c, nil
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return lockfile.AtomicWrite(path, data, 0o600, false)
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
