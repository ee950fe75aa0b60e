//go:build linux

package bundle

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/runner/sandbox"
	"github.com/hodbuild/hod/runner/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ExecOptions describe a further process of a running container. Detach leaves
// it to itself once it runs.
type ExecOptions struct {
	Process                *specs.Process
	ConsoleSocket, PidFile string
	Detach                 bool
}

// Exec starts a process in a container and returns its exit code.
func (r Runtime) Exec(ctx context.Context, id string, o ExecOptions) (int, error) {
	c, err := r.load(id)
	if err != nil {
		return 255, err
	}
	if c.Status != specs.StateRunning && c.Status != specs.StateCreated {
		return 255, fmt.Errorf("exec in container %q: it is %s", id, c.Status)
	}
	if err := sandbox.Seal(); err != nil {
		return 255, err
	}
	spec, err := readSpec(c.dir)
	if err != nil {
		return 255, err
	}
	filter, err := seccomp.Compile(spec.Linux.Seccomp)
	if err != nil {
		return 255, err
	}
	flags, err := seccomp.Flags(spec.Linux.Seccomp)
	if err != nil {
		return 255, err
	}
	j := sandbox.JoinOptions{PID: c.Pid, Process: o.Process, Filter: filter, FilterFlags: flags, Terminal: o.Process.Terminal, Leave: o.Detach}
	if !o.Process.Terminal {
		j.Stdin, j.Stdout, j.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	table, err := sandbox.CompileJoin(j)
	if err != nil {
		return 255, err
	}
	p, err := sandbox.Start(ctx, table, nil)
	if err != nil {
		table.Close()
		return 255, err
	}
	defer p.Close()
	if err := c.join(p, o); err != nil {
		p.Kill()
		return 255, err
	}
	if o.Detach {
		return 0, nil
	}
	status, err := p.Wait()
	return exitCode(status), err
}

func (c *container) join(p *sandbox.Process, o ExecOptions) error {
	cpus := specs.CPUAffinity{}
	if o.Process.ExecCPUAffinity != nil {
		cpus = *o.Process.ExecCPUAffinity
	}
	// Before the groups, whose cpuset would hold it already, and behind them.
	err := bindTo(p.PID(), cpus.Initial)
	if err == nil {
		err = c.group().Add(p.PID())
	}
	if err == nil {
		err = bindTo(p.PID(), cpus.Final)
	}
	if err != nil {
		return p.Cause(err)
	}
	if err := p.Release(); err != nil {
		return err
	}
	if err := sendConsole(p.Console(), o.ConsoleSocket); err != nil {
		return err
	}
	if o.PidFile == "" {
		return nil
	}
	return os.WriteFile(o.PidFile, []byte(strconv.Itoa(p.PID())), 0o644)
}

// Process is the process of a container's bundle with other arguments, as exec
// without a file of its own takes it.
func (r Runtime) Process(id string, args, env []string) (*specs.Process, error) {
	c, err := r.load(id)
	if err != nil {
		return nil, err
	}
	s, err := readSpec(c.dir)
	if err != nil {
		return nil, err
	}
	p := *s.Process
	p.Args, p.Env, p.Terminal = args, append(slices.Clone(p.Env), env...), false
	return &p, nil
}

// bindTo lets a process run on the processors of a list (0-3,7) only.
func bindTo(pid int, list string) error {
	if list == "" {
		return nil
	}
	var set unix.CPUSet
	for _, part := range strings.Split(list, ",") {
		first, last, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 10)
		to, err2 := strconv.ParseUint(last, 10, 10)
		if err != nil || err2 != nil || from > to {
			return fmt.Errorf("processors %q: not a list such as 0-3,7", list)
		}
		for cpu := from; cpu <= to; cpu++ {
			set.Set(int(cpu))
		}
	}
	if err := unix.SchedSetaffinity(pid, &set); err != nil {
		return fmt.Errorf("run on processors %q: %w", list, err)
	}
	return nil
}
