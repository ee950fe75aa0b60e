//go:build linux

package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Start lets a created container's process execute the program.
func (r Runtime) Start(id string) error {
	c, err := r.load(id)
	if err != nil {
		return err
	}
	if c.Status != specs.StateCreated {
		return fmt.Errorf("start container %q: it is %s and not created", id, c.Status)
	}
	fifo, err := os.OpenFile(c.fifo(), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("start container %q: %w", id, err)
	}
	_, err = fifo.Write([]byte{0})
	if err := errors.Join(err, fifo.Close(), os.Remove(c.fifo())); err != nil {
		return fmt.Errorf("start container %q: %w", id, err)
	}
	s, err := readSpec(c.dir)
	if err != nil || s.Hooks == nil {
		return err
	}
	return c.hooks(s.Hooks.Poststart, specs.StateRunning)
}

// State is the container's state in the form of the OCI.
func (r Runtime) State(id string) (specs.State, error) {
	c, err := r.load(id)
	if err != nil {
		return specs.State{}, err
	}
	if c.Status == specs.StateStopped {
		c.Pid = 0
	}
	return c.State, nil
}

// List is the state of every container, by ID.
func (r Runtime) List() ([]specs.State, error) {
	entries, err := os.ReadDir(r.Root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var out []specs.State
	for _, e := range entries {
		if s, err := r.State(e.Name()); err == nil {
			out = append(out, s)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out, nil
}

// Kill sends a signal to the container's process, with all to each one of it.
func (r Runtime) Kill(id string, sig unix.Signal, all bool) error {
	c, err := r.load(id)
	if err != nil {
		return err
	}
	if c.Status == specs.StateStopped && !all {
		return fmt.Errorf("kill container %q: it is not running", id)
	}
	if all {
		for _, pid := range c.group().Pids() {
			_ = unix.Kill(pid, sig) // those that ended meanwhile are no failure
		}
	} else if err := c.signal(sig); err != nil {
		return err
	}
	if sig == unix.SIGKILL && c.Status == StatePaused { // the old freezer keeps who was killed
		return c.group().Freeze(false)
	}
	return nil
}

// Delete takes away a container that has ended, with force one that has not.
func (r Runtime) Delete(id string, force bool) error {
	c, err := r.load(id)
	if err != nil {
		if force && errors.Is(err, ErrNotExist) {
			return nil
		}
		return err
	}
	if c.Status != specs.StateStopped {
		if !force && c.Status != specs.StateCreated {
			return fmt.Errorf("delete container %q: it is %s; kill it first, or use --force", id, c.Status)
		}
		_ = c.signal(unix.SIGKILL)
		if c.Status == StatePaused { // the old freezer keeps who was killed
			_ = c.group().Freeze(false)
		}
		for end := time.Now().Add(10 * time.Second); c.now() != specs.StateStopped && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	}
	err = c.group().Destroy()
	s, specErr := readSpec(c.dir)
	if err := errors.Join(err, os.RemoveAll(c.dir)); err != nil {
		return fmt.Errorf("delete container %q: %w", id, err)
	}
	if specErr != nil || s.Hooks == nil {
		return nil // the bundle may be gone by now
	}
	return c.hooks(s.Hooks.Poststop, specs.StateStopped)
}

// hooks runs programs of the caller's, each with the state on its input.
func (c *container) hooks(list []specs.Hook, status specs.ContainerState) error {
	c.Status = status
	state, err := json.Marshal(c.State)
	if err != nil {
		return err
	}
	for _, h := range list {
		cmd := exec.Cmd{Path: h.Path, Args: h.Args, Env: h.Env, Dir: c.Bundle, Stdin: bytes.NewReader(state), WaitDelay: time.Second}
		if len(h.Args) == 0 {
			cmd.Args = []string{h.Path}
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("run hook %s: %w", h.Path, err)
		}
		if h.Timeout != nil && *h.Timeout > 0 {
			timer := time.AfterFunc(time.Duration(*h.Timeout)*time.Second, func() { cmd.Process.Kill() })
			defer timer.Stop()
		}
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("run hook %s: %w: %s", h.Path, err, bytes.TrimSpace(stderr.Bytes()))
		}
	}
	return nil
}
