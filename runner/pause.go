//go:build linux

package runner

import (
	"context"
	"fmt"
	"slices"
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
	group, action := parseGroups(s.Cgroup), "unpause"
	// In this order, since who goes on may end at once, and that must not be written over.
	steps := []func() error{func() error { return c.sayPaused(frozen) }, func() error { return group.Freeze(frozen) }}
	if frozen {
		action = "pause"
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			_ = c.sayPaused(group.Frozen())
			return fmt.Errorf("%s container %s: %w", action, c.Name, err)
		}
	}
	cs.tell(c, action)
	return nil
}

// sayPaused writes whether a container that runs is paused.
func (c *Container) sayPaused(paused bool) error {
	s, err := c.LoadState() // again: its monitor writes it too
	if err != nil || !s.Running() {
		return err
	}
	s.Status = StatusRunning
	if paused {
		s.Status = StatusPaused
	}
	return c.saveState(s)
}
