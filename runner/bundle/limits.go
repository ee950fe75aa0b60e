//go:build linux

package bundle

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/hodbuild/hod/runner/cgroup"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Pause stops every process of a running container where it is.
func (r Runtime) Pause(id string) error {
	c, err := r.living(id, "pause", specs.StateRunning, specs.StateCreated)
	if err != nil {
		return err
	}
	if err := c.group().Freeze(true); err != nil {
		return fmt.Errorf("pause container %q: %w", id, err)
	}
	return nil
}

// Resume lets a paused container go on.
func (r Runtime) Resume(id string) error {
	c, err := r.living(id, "resume", StatePaused)
	if err != nil {
		return err
	}
	if err := c.group().Freeze(false); err != nil {
		return fmt.Errorf("resume container %q: %w", id, err)
	}
	return nil
}

// Update writes limits to the control groups of a container that has not ended.
func (r Runtime) Update(id string, res *specs.LinuxResources) error {
	c, err := r.living(id, "update", specs.StateRunning, specs.StateCreated, StatePaused)
	if err != nil {
		return err
	}
	if err := c.group().Update(res); err != nil {
		return fmt.Errorf("update container %q: %w", id, err)
	}
	return nil
}

// Pids are the processes of a container, as the caller sees them.
func (r Runtime) Pids(id string) ([]int, error) {
	c, err := r.living(id, "list the processes of", specs.StateRunning, specs.StateCreated, StatePaused)
	if err != nil {
		return nil, err
	}
	return c.group().Pids(), nil
}

// event is one line of Events, in the form that runc gave it.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

type amount struct {
	Usage uint64 `json:"usage"`
	Limit uint64 `json:"limit,omitempty"`
}

type statistics struct {
	CPU struct {
		Usage struct {
			Total time.Duration `json:"total"` // in nanoseconds
		} `json:"usage"`
	} `json:"cpu"`
	Memory struct {
		Usage amount `json:"usage"`
	} `json:"memory"`
	Pids struct {
		Current uint64 `json:"current"`
	} `json:"pids"`
	BlockIO struct {
		Bytes []operation `json:"ioServiceBytesRecursive,omitempty"`
	} `json:"blkio"`
}

type operation struct {
	Op    string `json:"op"`
	Value uint64 `json:"value"`
}

func statisticsOf(u cgroup.Usage) (s statistics) {
	s.CPU.Usage.Total = u.CPU
	s.Memory.Usage = amount{u.Memory, u.MemoryLimit}
	s.Pids.Current = u.Pids
	if u.BlockRead+u.BlockWrite > 0 {
		s.BlockIO.Bytes = []operation{{"Read", u.BlockRead}, {"Write", u.BlockWrite}}
	}
	return s
}

// Events writes what a container uses, a line of JSON each interval, and one
// when its memory was not enough, until it has ended; without an interval once.
func (r Runtime) Events(ctx context.Context, id string, every time.Duration, w io.Writer) error {
	c, err := r.living(id, "watch", specs.StateRunning, specs.StateCreated, StatePaused)
	if err != nil {
		return err
	}
	lines := json.NewEncoder(w)
	for told := false; ; {
		if err := lines.Encode(event{"stats", id, statisticsOf(c.group().Usage())}); err != nil || every <= 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
		if !told && c.group().OOMKilled() {
			told = true
			if err := lines.Encode(event{Type: "oom", ID: id}); err != nil {
				return err
			}
		}
		if c.now() == specs.StateStopped {
			return nil
		}
	}
}
