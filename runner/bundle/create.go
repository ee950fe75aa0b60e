//go:build linux

package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner/cgroup"
	"github.com/hodbuild/hod/runner/sandbox"
	"github.com/hodbuild/hod/runner/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// CreateOptions say where the bundle is, where the terminal's master goes and
// where the process's number is written.
type CreateOptions struct {
	Bundle, ConsoleSocket, PidFile string
	leave                          bool // its end is somebody else's to see
}

// Create makes a container whose process waits for Start. It outlives the caller.
func (r Runtime) Create(ctx context.Context, id string, o CreateOptions) error {
	o.leave = true
	p, err := r.create(ctx, id, o)
	if err != nil {
		return err
	}
	return p.Close()
}

// Run creates and starts a container, waits for its end and deletes it. It
// returns the program's exit code.
func (r Runtime) Run(ctx context.Context, id string, o CreateOptions) (int, error) {
	p, err := r.create(ctx, id, o)
	if err != nil {
		return 1, err
	}
	defer p.Close()
	if err := r.Start(id); err != nil {
		return 1, errors.Join(err, r.Delete(id, true))
	}
	stop := context.AfterFunc(ctx, func() { p.Kill() })
	defer stop()
	status, err := p.Wait()
	return exitCode(status), errors.Join(err, r.Delete(id, true))
}

func exitCode(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

func (r Runtime) create(ctx context.Context, id string, o CreateOptions) (p *sandbox.Process, err error) {
	if err := sandbox.Seal(); err != nil {
		return nil, err
	}
	spec, err := readSpec(o.Bundle)
	if err != nil {
		return nil, err
	}
	c, err := r.claim(id, o.Bundle, spec)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.group().Destroy()
			os.RemoveAll(c.dir)
		}
	}()
	text, err := os.ReadFile(filepath.Join(o.Bundle, "config.json"))
	if err == nil { // later changes of the bundle are not the container's
		err = os.WriteFile(filepath.Join(c.dir, "config.json"), text, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("keep bundle's config.json: %w", err)
	}
	table, err := c.compile(spec, o.leave)
	if err != nil {
		return nil, err
	}
	if p, err = sandbox.Start(ctx, table, nil); err != nil {
		table.Close()
		return nil, err
	}
	if err := r.finish(c, spec, p, o); err != nil {
		p.Kill()
		p.Wait()
		err = p.Cause(err)
		p.Close()
		return nil, err
	}
	return p, nil
}

// finish does what the caller's side does while the child waits at its gate.
func (r Runtime) finish(c *container, spec *specs.Spec, p *sandbox.Process, o CreateOptions) error {
	var err error
	c.Pid = p.PID()
	if c.Start, err = startOf(c.Pid); err != nil {
		return err
	}
	if err := r.place(c, spec); err != nil {
		return err
	}
	if spec.Hooks != nil {
		//lint:ignore SA1019 older engines still ask for prestart hooks
		for _, list := range [][]specs.Hook{spec.Hooks.Prestart, spec.Hooks.CreateRuntime} {
			if err := c.hooks(list, specs.StateCreating); err != nil {
				return err
			}
		}
	}
	if err := p.Release(); err != nil {
		return err
	}
	if err := sendConsole(p.Console(), o.ConsoleSocket); err != nil {
		return err
	}
	c.Status = specs.StateCreated
	if err := c.save(); err != nil {
		return err
	}
	if o.PidFile == "" {
		return nil
	}
	return os.WriteFile(o.PidFile, []byte(strconv.Itoa(c.Pid)), 0o644)
}

// readSpec reads a bundle's config.json, or the copy that a container keeps.
func readSpec(dir string) (*specs.Spec, error) {
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	s := &specs.Spec{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("read bundle: config.json: %w", err)
	}
	if s.Linux == nil {
		s.Linux = &specs.Linux{}
	}
	return s, check(s)
}

// claim makes the container's folder, which no other has.
func (r Runtime) claim(id, bundle string, s *specs.Spec) (*container, error) {
	dir, err := r.dir(id)
	if err != nil {
		return nil, err
	}
	if bundle, err = filepath.Abs(bundle); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.Root, 0o700); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("container %q exists already", id)
	} else if err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	c := &container{dir: dir, Created: time.Now().UTC()}
	c.State = specs.State{Version: specs.Version, ID: id, Status: specs.StateCreating, Bundle: bundle, Annotations: s.Annotations}
	if err := unix.Mkfifo(c.fifo(), 0o600); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("make start gate: %w", err)
	}
	return c, nil
}

// compile makes the table of the bundle's sandbox.
func (c *container) compile(s *specs.Spec, leave bool) (*sandbox.Program, error) {
	fd, err := unix.Open(c.fifo(), unix.O_RDWR|unix.O_CLOEXEC, 0) // so it waits, and sees no end of file
	if err != nil {
		return nil, fmt.Errorf("open start gate: %w", err)
	}
	filter, err := seccomp.Compile(s.Linux.Seccomp)
	if err != nil {
		return nil, err
	}
	flags, err := seccomp.Flags(s.Linux.Seccomp)
	if err != nil {
		return nil, err
	}
	if u := s.Process.User; userns.Here() == userns.Single && slices.ContainsFunc(u.AdditionalGids, func(g uint32) bool { return g != u.GID }) {
		return nil, fmt.Errorf("process.user.additionalGids %v: who has one id may set no groups", u.AdditionalGids)
	}
	root := s.Root.Path
	if !filepath.IsAbs(root) {
		root = filepath.Join(c.Bundle, root)
	}
	for i, m := range s.Mounts { // relative sources are the bundle's
		if (m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")) && !filepath.IsAbs(m.Source) {
			s.Mounts[i].Source = filepath.Join(c.Bundle, m.Source)
		}
	}
	if err := mountGroups(s); err != nil {
		return nil, err
	}
	o := sandbox.Options{
		Spec: s, Root: sandbox.Root{Source: root}, Filter: filter, FilterFlags: flags, SameIDs: true, ParentOpens: true, Terminal: s.Process.Terminal,
		Ready: os.NewFile(uintptr(fd), "start"), Unprivileged: userns.Here() == userns.Single,
		UIDs: ranges(s.Linux.UIDMappings), GIDs: ranges(s.Linux.GIDMappings), Leave: leave,
	}
	if !s.Process.Terminal {
		o.Stdin, o.Stdout, o.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	return sandbox.Compile(o)
}

func ranges(list []specs.LinuxIDMapping) []sandbox.Range {
	var out []sandbox.Range
	for _, m := range list {
		out = append(out, sandbox.Range{Inside: m.ContainerID, Outside: m.HostID, Count: m.Size})
	}
	return out
}

// place puts the child into the control groups that the bundle names.
func (r Runtime) place(c *container, s *specs.Spec) error {
	if r.NoCgroups {
		return nil
	}
	parent, name := filepath.Split(filepath.Clean("/" + s.Linux.CgroupsPath))
	if s.Linux.CgroupsPath == "" {
		parent, name = "", c.ID
	}
	res := specs.LinuxResources{}
	if s.Linux.Resources != nil {
		res = *s.Linux.Resources
	}
	if len(res.Devices) > 0 { // what every container has stays open
		res.Devices = append(slices.Clone(res.Devices), cgroup.StandardDevices()...)
	}
	g, err := cgroup.Create(name, parent, &res)
	if err != nil {
		return err
	}
	c.Groups = g.Paths()
	return g.Add(c.Pid)
}

// sendConsole hands the terminal's master to who listens on the socket.
func sendConsole(console *os.File, socket string) error {
	if console == nil {
		return nil
	}
	if socket == "" {
		return errors.New("a container with a terminal needs --console-socket")
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return fmt.Errorf("send terminal: %w", err)
	}
	defer conn.Close()
	if _, _, err = conn.WriteMsgUnix([]byte("/dev/ptmx"), unix.UnixRights(int(console.Fd())), nil); err != nil {
		return fmt.Errorf("send terminal: %w", err)
	}
	return nil
}
