//go:build linux

package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Exit is how a container's process ended, as the monitor writes it into the
// file that it holds locked: who waits for the lock reads it there, even when
// the container has been removed meanwhile.
type lastExit struct {
	ExitCode  int
	OOMKilled bool   `json:",omitempty"`
	Error     string `json:",omitempty"`
}

// exitLost is the exit code of a container whose end nobody saw.
const exitLost = 255

// lockMonitor takes the lock that says "a monitor lives". It returns nil when
// another process holds it.
func lockMonitor(c *Container) (*os.File, error) {
	f, err := os.OpenFile(c.file("monitor"), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	switch err := flockPast(int(f.Fd())); {
	case err == nil:
	case errors.Is(err, unix.EWOULDBLOCK):
		f.Close()
		return nil, nil
	default:
		f.Close()
		return nil, fmt.Errorf("lock container %s: %w", c.ShortID(), err)
	}
	// The folder may have been removed between the opening and the lock.
	if _, err := os.Lstat(c.file("config.json")); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// flockPast takes a lock exclusively. Those who wait for the end of a monitor hold it, shared, for an instant now and
// then; they are no monitor.
func flockPast(fd int) error {
	for try := 0; ; try++ {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || try == 100 || unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) != nil {
			return err
		}
		unix.Flock(fd, unix.LOCK_UN)
		time.Sleep(time.Millisecond)
	}
}

// lockStopped takes the lock of a container that does not run. Another hod may hold it for a moment, to see what a dead
// monitor left, or to copy files; it returns nil when one holds it for longer, or starts the container.
func lockStopped(ctx context.Context, c *Container) (*os.File, error) {
	for end := time.Now().Add(lockPatience); ; {
		lock, err := lockMonitor(c)
		if lock != nil || err != nil || time.Now().After(end) {
			return lock, err
		}
		if s, err := c.LoadState(); err == nil && s.alive() {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

const lockPatience = 5 * time.Second

// truth returns the state, having made it true: if it speaks of a process but
// no monitor lives, what that monitor left is taken away and the container is
// exited.
func (cs *Containers) truth(ctx context.Context, c *Container) (*State, error) {
	s, err := c.LoadState()
	if err != nil || !s.alive() && !c.abandoned(s) {
		return s, err
	}
	lock, err := lockMonitor(c)
	if err != nil {
		return nil, err
	}
	if lock == nil {
		return s, nil
	}
	defer lock.Close()
	if s, err = c.LoadState(); err != nil || !s.alive() {
		if err == nil && c.abandoned(s) {
			sweepGroup(c)
			return s, cs.erase(c)
		}
		return s, err
	}
	reap(ctx, c, s)
	s.Status = StatusExited
	s.ExitCode = exitLost
	s.FinishedAt = time.Now().UTC()
	s.Error = "its monitor died with it"
	if s.BootID != bootID() {
		s.Error = "the machine was restarted"
	}
	s.Pid, s.MonitorPid, s.Network = 0, 0, nil
	writeExit(lock, lastExit{ExitCode: s.ExitCode, Error: s.Error})
	cs.tell(c, "die", "exitCode", strconv.Itoa(s.ExitCode))
	if err := c.saveState(s); err != nil {
		return nil, err
	}
	if c.Options.AutoRemove {
		return s, cs.erase(c)
	}
	return s, nil
}

// abandoned says that run --rm made the container and was killed before it could
// start it. The time leaves one that is on its way alone.
func (c *Container) abandoned(s *State) bool {
	return c.Options.Once && s.Status == StatusCreated && time.Since(c.Created) > 10*time.Second
}

// alive reports whether the state claims that a monitor is at work.
func (s *State) alive() bool { return s.Running() || s.Status == StatusRestarting }

func writeExit(f *os.File, e lastExit) {
	data, _ := json.Marshal(e)
	f.Truncate(0)
	f.WriteAt(data, 0)
}

func readExit(f *os.File) (lastExit, error) {
	var e lastExit
	b := make([]byte, 4096)
	n, _ := f.ReadAt(b, 0)
	if n == 0 {
		return e, errors.New("its end was not recorded")
	}
	return e, json.Unmarshal(b[:n], &e)
}

// Wait blocks until the container has no process and returns its exit code.
// One that never ran waits for its first run, as docker's wait does not: it
// answers 0 at once.
func (cs *Containers) Wait(ctx context.Context, ref string) (int, error) {
	c, s, err := cs.Lookup(ctx, ref)
	if err != nil {
		return 0, err
	}
	if !s.alive() {
		return s.ExitCode, nil
	}
	f, err := os.Open(c.file("monitor"))
	if err != nil {
		return s.ExitCode, nil
	}
	defer f.Close()
	if err := waitUnlocked(ctx, f); err != nil {
		return 0, fmt.Errorf("wait for container %s: %w", c.Name, err)
	}
	if _, err := cs.truth(ctx, c); err != nil && !missing(err) {
		return 0, err
	}
	e, err := readExit(f)
	if err != nil {
		return 0, fmt.Errorf("wait for container %s: %w", c.Name, err)
	}
	return e.ExitCode, nil
}

// waitUnlocked waits until nobody holds the lock of f exclusively. It looks
// again and again, a little less often each time, so that it can be cancelled.
func waitUnlocked(ctx context.Context, f *os.File) error {
	for pause := time.Millisecond; ; pause = min(pause*2, 50*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		if err == nil {
			unix.Flock(int(f.Fd()), unix.LOCK_UN)
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}
