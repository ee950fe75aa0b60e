//go:build linux

package runner

import (
	"context"
	"fmt"
)

// Pause stops all processes of a container where they are; Unpause lets them go on.
func (cs *Containers) Pause(ctx context.Context, ref string) error {
	return cs.freeze(ctx, ref, true)
}

// Unpause lets a paused container go on.
func (cs *Containers) Unpause(ctx context.Context, ref string) error {
	return cs.freeze(ctx, ref, false)
}

func (cs *Containers) freeze(ctx context.Context, ref string, frozen bool) error {
	c, s, err := cs.mustRun(ctx, ref)
	if err != nil {
		return err
	}
	if frozen == (s.Status == StatusPaused) {
		if frozen {
			return fmt.Errorf("container %s is already paused", c.Name)
		}
		return fmt.Errorf("container %s is not paused", c.Name)
	}
	if err := parseGroups(s.Cgroup).Freeze(frozen); err != nil {
		return fmt.Errorf("pause container %s: %w", c.Name, err)
	}
	s.Status = StatusRunning
	action := "unpause"
	if frozen {
		s.Status, action = StatusPaused, "pause"
	}
	if err := c.saveState(s); err != nil {
		return err
	}
	cs.tell(c, action)
	return nil
}
