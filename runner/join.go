//go:build linux

package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner/sandbox"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ExecOptions are a further process of a running container. What is empty is as
// the container's own process has it.
type ExecOptions struct {
	Args, Env  []string
	Dir, User  string
	Privileged bool
	Terminal   bool
	Size       [2]uint16 // of the terminal at first
	// Detach leaves the process alone once it runs; its streams are /dev/null.
	Detach bool
	// alone says that this process has no other task, as a monitor has.
	alone bool
}

// Joinable is a running container that further processes may join.
type Joinable struct {
	c *Container
	s *State
}

// Joinable finds a running container, and makes sure that no process of it can
// write into hod's own file. That may start this program once more, so it comes
// before anything that is undone at the end, as the mode of a terminal.
func (cs *Containers) Joinable(ctx context.Context, ref string) (*Joinable, error) {
	c, s, err := cs.mustRun(ctx, ref)
	if err != nil {
		return nil, err
	}
	return &Joinable{c, s}, sandbox.SealFor(s.Pid)
}

// Exec runs a process in the container and returns its exit code.
func (j *Joinable) Exec(ctx context.Context, o ExecOptions, f Foreground) (int, error) {
	if j.s.Status == StatusPaused {
		return 0, fmt.Errorf("container %s is paused, unpause the container before exec", j.c.Name)
	}
	if j.c.Options.Runtime != "" {
		return execOther(ctx, j.c, j.s, o, f)
	}
	o.alone = true
	code, err := joinProcess(ctx, j.c, j.s, o, f)
	var step *sandbox.StepError
	if errors.As(err, &step) && step.NoFolder() {
		return code, &ExitError{Code: 126, Err: err}
	}
	return code, startError(err)
}

// joinProcess starts a process in the namespaces and groups of the container.
func joinProcess(ctx context.Context, c *Container, s *State, o ExecOptions, f Foreground) (int, error) {
	spec, err := execSpec(c, s, o)
	if err != nil {
		return 0, &ExitError{Code: 126, Err: err}
	}
	filter, err := Filter(spec)
	if err != nil {
		return 0, err
	}
	var p pipes
	defer p.close()
	if !o.Terminal && !o.Detach {
		if err := p.make(f.Stdin != nil); err != nil {
			return 0, err
		}
	}
	program, err := sandbox.CompileJoin(sandbox.JoinOptions{
		PID: s.Pid, Process: spec.Process, Filter: filter, Unprivileged: !maySetGroups(s.Pid),
		Stdin: p.child[0], Stdout: p.child[1], Stderr: p.child[2], Terminal: o.Terminal, Die: !o.Detach,
		Shared: o.alone && userns.Here() == userns.Root,
	})
	if err != nil {
		return 0, err
	}
	proc, err := start(ctx, program, nil)
	if err != nil {
		program.Close()
		return 0, err
	}
	if s.Cgroup != "" {
		if err := parseGroups(s.Cgroup).Add(proc.PID()); err != nil {
			proc.Kill()
			proc.Wait()
			proc.Close()
			return 0, err
		}
	}
	if err := proc.Release(); err != nil {
		proc.Close()
		return 0, err
	}
	if o.Detach {
		return 0, nil
	}
	defer proc.Close()
	return attend(ctx, proc, &p, f)
}

// maySetGroups says whether the user namespace of a process lets its root set
// groups. One with a single id does not.
func maySetGroups(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/setgroups", pid))
	return err != nil || strings.TrimSpace(string(b)) != "deny"
}

// make makes the pipes for a process without a terminal.
func (p *pipes) make(stdin bool) error {
	for i := range 3 {
		if i == 0 && !stdin {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("make pipes: %w", err)
		}
		p.child[i], p.parent[i] = w, r
		if i == 0 {
			p.child[i], p.parent[i] = r, w
		}
	}
	return nil
}

// attend carries the streams of a process until its end. If ctx ends before, or
// the detach keys are typed, it is killed or left.
func attend(ctx context.Context, proc *sandbox.Process, p *pipes, f Foreground) (int, error) {
	s := streams{console: proc.Console(), stdin: p.parent[0], signal: proc.Signal}
	if s.console != nil {
		s.stdin = s.console
	}
	for i := range 3 {
		if p.child[i] != nil {
			p.child[i].Close()
			p.child[i] = nil
		}
	}
	select {
	case size := <-f.Sizes:
		s.resize(size[0], size[1])
	default:
	}
	s.add(f.sink())
	detached := make(chan struct{})
	if f.Stdin != nil {
		go typeInto(&s, f, detached)
	}
	stop := make(chan struct{})
	defer close(stop)
	go s.events(f, stop)
	kill := context.AfterFunc(ctx, func() { proc.Kill() })
	defer kill()
	var out sync.WaitGroup
	done := make(chan struct{})
	for i, r := range []*os.File{s.console, p.parent[1], p.parent[2]} {
		stream := byte(frameStdout)
		if i == 2 {
			stream = frameStderr
		}
		if r != nil {
			out.Go(func() { s.pump(stream, r) })
		}
	}
	go func() { out.Wait(); close(done) }()
	select {
	case <-detached:
		return 0, ErrDetached
	case <-proc.Exited():
	}
	status, err := proc.Wait()
	// What it started in the background may go on, and holds the terminal or the pipes.
	s.rest(done, 500*time.Millisecond, func() {})
	return lastExitOf(status).ExitCode, err
}

// sink writes to the streams of a Foreground.
func (f *Foreground) sink() sink {
	return func(stream byte, p []byte) error {
		w := f.Stdout
		if stream == frameStderr {
			w = f.Stderr
		}
		if w == nil {
			return nil
		}
		_, err := w.Write(p)
		if errors.Is(err, unix.EPIPE) {
			return errUnread
		}
		return err
	}
}

func typeInto(s *streams, f Foreground, detached chan<- struct{}) {
	keys := keyWatch{keys: f.DetachKeys}
	buf := make([]byte, 32<<10)
	for {
		n, err := f.Stdin.Read(buf)
		p, found := keys.pass(buf[:n])
		if found {
			close(detached)
			return
		}
		if len(p) > 0 && s.input(p) != nil {
			return
		}
		if err != nil {
			s.closeInput()
			return
		}
	}
}

// execSpec is the container's own specification with another process.
func execSpec(c *Container, s *State, o ExecOptions) (*specs.Spec, error) {
	co := c.Options
	co.Mounts, co.Devices, co.Network = nil, nil, "none"
	co.Args, co.Entrypoint, co.EntrypointSet = o.Args, nil, true
	co.Terminal, co.ConsoleSize = o.Terminal, o.Size
	co.Env = append(slices.Clone(co.Env), o.Env...)
	if co.Hostname == "" {
		co.Hostname = c.ShortID()
	}
	for _, ns := range []*string{&co.PIDNS, &co.IPCNS, &co.UTSNS, &co.CgroupNS} {
		*ns = "host"
	}
	co.Privileged = co.Privileged || o.Privileged
	if o.Dir != "" {
		co.WorkingDir = o.Dir
	}
	if o.User != "" {
		co.User = o.User
	}
	spec, err := Spec(c.Config, co)
	if err != nil {
		return nil, err
	}
	want := co.User
	if want == "" {
		want = c.Config.User
	}
	root, err := rootfs.OpenRoot(fmt.Sprintf("/proc/%d/root", s.Pid))
	if err != nil {
		return nil, fmt.Errorf("open container's root: %w", err)
	}
	defer root.Close()
	user, err := findUser(func(path string) ([]byte, error) { return root.ReadFileLimited(path, 10<<20) }, want, co.GroupAdd)
	if err == nil {
		err = user.existsIn(s.Pid)
	}
	if err != nil {
		return nil, err
	}
	SetUser(spec, user)
	return spec, nil
}

// probeExec runs a health check; its output is cut at probeOutput.
func probeExec(ctx context.Context, c *Container, s *State, args []string) (int, []byte, error) {
	var out bounded
	code, err := joinProcess(ctx, c, s, ExecOptions{Args: args}, Foreground{Stdout: &out, Stderr: &out})
	var missing *ExitError
	if errors.As(startError(err), &missing) {
		return missing.Code, []byte(err.Error()), nil
	}
	return code, out.bytes(), err
}

// bounded keeps the first bytes written to it and takes the rest.
type bounded struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (w *bounded) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Write(p[:min(len(p), max(0, probeOutput-w.b.Len()))])
	return len(p), nil
}

func (w *bounded) bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return []byte(strings.ToValidUTF8(w.b.String(), "\uFFFD"))
}

// events hands signals and sizes to the process.
func (s *streams) events(f Foreground, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case size := <-f.Sizes:
			s.resize(size[0], size[1])
		case sig := <-f.Signals:
			if n, ok := sig.(unix.Signal); ok && Passed(n) {
				s.kill(n)
			}
		}
	}
}

// Passed says whether a signal that hod gets is for the process: those that the kernel or Go
// send to this one for reasons of its own are not.
func Passed(n unix.Signal) bool {
	switch n {
	case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGWINCH:
		return false
	}
	return true
}
