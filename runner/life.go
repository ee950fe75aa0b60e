//go:build linux

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hodbuild/hod/layers/rootfs"
)

// ErrNotRunning is wrapped by errors about a container that has no process.
var ErrNotRunning = errors.New("is not running")

// mustRun returns the container and its state if it has a process.
func (cs *Containers) mustRun(ctx context.Context, ref string) (*Container, *State, error) {
	c, s, err := cs.Lookup(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	if !s.Running() {
		return nil, nil, fmt.Errorf("container %s %w", c.Name, ErrNotRunning)
	}
	return c, s, nil
}

// Kill sends a signal to the container's first process. A restart policy does
// not bring back what was killed by hand, and one that is paused goes on to end.
func (cs *Containers) Kill(ctx context.Context, ref string, sig unix.Signal) error {
	c, s, err := cs.mustRun(ctx, ref)
	if err != nil {
		return err
	}
	if sig == unix.SIGKILL || sig == unix.SIGTERM || sig == unix.SIGINT || sig == c.StopSignal() {
		if err := c.askStop(""); err != nil {
			return err
		}
		if s.Status == StatusPaused {
			if err := cs.Unpause(ctx, c.ID); err != nil {
				return err
			}
		}
	}
	if err := cs.signal(c, s, sig); err != nil {
		return fmt.Errorf("kill container %s: %w", c.Name, err)
	}
	cs.tell(c, "kill", "signal", strconv.Itoa(int(sig)))
	return nil
}

// signal sends a signal to a container's process. A user's hod that works inside of a user namespace has no right to
// processes of another one's; the monitor does it then.
func (cs *Containers) signal(c *Container, s *State, sig unix.Signal) error {
	err := signalState(s, sig)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	conn, derr := cs.Dial(c)
	if derr != nil {
		return err
	}
	defer conn.Close()
	return writeFrame(conn, frameSignal, []byte{byte(sig)})
}

// Signal sends a signal to the process of a container that is attached to, if it has one just now.
func (cs *Containers) Signal(c *Container, sig unix.Signal) error {
	s, err := c.LoadState()
	if err != nil || !s.Running() {
		return err
	}
	return cs.signal(c, s, sig)
}

func signalState(s *State, sig unix.Signal) error {
	fd, err := openProcess(s)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// askStop leaves the mark that tells the monitor not to start again; stopToStart
// in it, that somebody else will, so that --rm does not remove the container.
func (c *Container) askStop(why string) error {
	return os.WriteFile(c.file("stop"), []byte(why), 0o600)
}

const stopToStart = "start"

// StopSignal is what stop sends first: the container's, the image's, SIGTERM.
func (c *Container) StopSignal() unix.Signal {
	for _, name := range []string{c.Options.StopSignal, c.Config.StopSignal} {
		if sig, err := ParseSignal(name); name != "" && err == nil {
			return sig
		}
	}
	return unix.SIGTERM
}

// Stop asks the container's process to end and, after the timeout (negative:
// never, nil: the container's own), kills it. A stopped container is left as it is.
func (cs *Containers) Stop(ctx context.Context, ref string, timeout *time.Duration, sig unix.Signal) error {
	return cs.stop(ctx, ref, timeout, sig, "")
}

func (cs *Containers) stop(ctx context.Context, ref string, timeout *time.Duration, sig unix.Signal, why string) (err error) {
	c, s, err := cs.Lookup(ctx, ref)
	if err != nil || !s.alive() {
		return err
	}
	defer func() {
		if err == nil {
			cs.tell(c, "stop")
		}
	}()
	if err := c.askStop(why); err != nil {
		return fmt.Errorf("stop container %s: %w", c.Name, err)
	}
	if sig == 0 {
		sig = c.StopSignal()
	}
	patience := c.StopTimeout()
	if timeout != nil {
		patience = *timeout
	}
	lock, err := os.Open(c.file("monitor"))
	if err != nil {
		return nil
	}
	defer lock.Close()
	if s.Status == StatusPaused {
		if err := cs.Unpause(ctx, c.ID); err != nil {
			return err
		}
	}
	if err := cs.signal(c, s, sig); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop container %s: %w", c.Name, err)
	}
	cs.tell(c, "kill", "signal", strconv.Itoa(int(sig)))
	if patience < 0 {
		return waitUnlocked(ctx, lock)
	}
	soft, cancel := context.WithTimeout(ctx, patience)
	err = waitUnlocked(soft, lock)
	cancel()
	if err == nil || ctx.Err() != nil {
		return err
	}
	return cs.finish(ctx, c, lock)
}

// Restart stops a container and starts it again.
func (cs *Containers) Restart(ctx context.Context, ref string, timeout *time.Duration, sig unix.Signal, o StartOptions) error {
	c, _, err := cs.Lookup(ctx, ref)
	if err != nil {
		return err
	}
	if err := cs.stop(ctx, c.ID, timeout, sig, stopToStart); err != nil {
		return err
	}
	if c.Options.AutoRemove {
		// The kernel marks a top that was mounted without syncing, and refuses it the second time.
		if err := removeTree(c.file("work/work")); err != nil && !missing(err) {
			return fmt.Errorf("restart container %s: %w", c.Name, err)
		}
	}
	if _, err := cs.Start(ctx, ref, o); err != nil {
		return err
	}
	if c, _, err := cs.Lookup(ctx, ref); err == nil { // it may be gone again
		cs.tell(c, "restart")
	}
	return nil
}

// finish kills a container and waits until its monitor is done.
func (cs *Containers) finish(ctx context.Context, c *Container, lock *os.File) error {
	for {
		if s, err := c.LoadState(); err == nil && s.Pid > 0 {
			if err := cs.signal(c, s, unix.SIGKILL); errors.Is(err, unix.EPERM) {
				return fmt.Errorf("kill container %s: %w", c.Name, err)
			}
		}
		again, cancel := context.WithTimeout(ctx, time.Second)
		err := waitUnlocked(again, lock)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// Remove deletes a container: its record, log and files, with volumes also the
// volumes that were made for it alone. With force a running one is killed.
func (cs *Containers) Remove(ctx context.Context, ref string, force, volumes bool) error {
	c, s, err := cs.Lookup(ctx, ref)
	if err != nil {
		return err
	}
	if s.alive() {
		if !force {
			return fmt.Errorf("cannot remove container %s: it is %s; stop it first or remove it with --force", c.Name, s.Status)
		}
		if err := c.askStop(""); err != nil && !missing(err) {
			return err
		}
		lock, err := os.Open(c.file("monitor"))
		if err != nil {
			return nil
		}
		defer lock.Close()
		if s.Status == StatusPaused {
			if err := cs.Unpause(ctx, c.ID); err != nil {
				return err
			}
		}
		if err := cs.finish(ctx, c, lock); err != nil {
			return err
		}
		if _, err := os.Lstat(c.Dir); err != nil {
			return nil
		}
	}
	lock, err := lockStopped(ctx, c)
	if missing(err) {
		return fmt.Errorf("%w: %s", ErrNoContainer, ref)
	}
	if err != nil {
		return err
	}
	if lock == nil {
		if s, err := c.LoadState(); err == nil && s.alive() { // it was just being started
			return cs.Remove(ctx, ref, force, volumes)
		}
		return fmt.Errorf("cannot remove container %s: another hod is using it", c.Name)
	}
	defer lock.Close()
	if volumes {
		c.Options.AutoRemove = true
	}
	sweepGroup(c)
	return cs.erase(c)
}

// trashPrefix begins the name of what is being deleted.
const trashPrefix = ".trash-"

// erase deletes a container whose lock the caller holds. The record goes first:
// what is killed later is swept by the next list.
func (cs *Containers) erase(c *Container) error {
	cs.dropName(c)
	trash := filepath.Join(cs.dir, trashPrefix+c.ID)
	now := time.Now()
	_ = os.Chtimes(c.Dir, now, now) // sweepRemains looks when this was
	if err := os.Rename(c.Dir, trash); err != nil && !missing(err) {
		return fmt.Errorf("remove container %s: %w", c.Name, err)
	}
	if err := removeTree(trash); err != nil {
		return fmt.Errorf("remove container %s: %w", c.Name, err)
	}
	cs.tell(c, "destroy")
	if !c.Options.AutoRemove {
		return nil
	}
	if len(c.Anonymous) == 0 {
		return nil
	}
	users, err := cs.VolumeUsers(context.Background())
	if err != nil {
		return err
	}
	for _, v := range c.Anonymous {
		if len(users[v]) > 0 { // by --volumes-from
			continue
		}
		if err := cs.volumes.remove(v); err != nil && !errors.Is(err, ErrNoVolume) {
			return err
		}
	}
	return nil
}

// removeTree deletes a folder with all below it, however deep and whatever its modes.
func removeTree(dir string) error {
	parent, err := rootfs.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	return parent.RemoveAll(filepath.Base(dir))
}
