//go:build linux

package runner

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner/cgroup"
	"github.com/hodbuild/hod/runner/sandbox"
	"github.com/hodbuild/hod/runner/seccomp"
)

// Exec runs a command until it ends. When ctx is cancelled every process of it
// is killed. A command that ran and failed is an Exit and no error.
func (r *Runner) Exec(ctx context.Context, c Command) (Exit, error) {
	c.mapOwnID()
	if c.Root.Type == "overlay" && c.Root.Detached == nil && c.ReadFile == nil && userns.Here() == userns.Root {
		tree, err := rootfs.MountOverlay(c.Root, 0)
		if err != nil {
			return Exit{}, err
		}
		defer tree.Close()
		c.Root.Detached = tree
	}
	spec, err := c.spec()
	if err != nil {
		return Exit{}, err
	}
	dir, err := os.MkdirTemp(scratch(), "hod-exec-")
	if err != nil {
		return Exit{}, fmt.Errorf("make a folder for the command: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := c.networkFiles(spec, dir); err != nil {
		return Exit{}, err
	}
	options, err := c.sandbox(spec)
	if err != nil {
		return Exit{}, err
	}
	io, err := newStreams(c)
	if err != nil {
		return Exit{}, err
	}
	defer io.close()
	if err := io.give(outside(c.UIDs, int(spec.Process.User.UID)), outside(c.GIDs, int(spec.Process.User.GID))); err != nil {
		return Exit{}, err
	}
	options.Stdin, options.Stdout, options.Stderr = io.child[0], io.child[1], io.child[2]
	group, err := c.group(spec)
	if err != nil {
		return Exit{}, err
	}
	if group != nil {
		defer group.Destroy()
	}
	groups, err := showGroups(group, spec, options.Mounts, !c.Insecure)
	if err != nil {
		return Exit{}, err
	}
	defer func() {
		for _, t := range groups {
			t.FD.Close()
		}
	}()
	options.Mounts = append(groups, options.Mounts...)
	return c.perform(ctx, options, group, io)
}

// scratch is where a command's own files lie: their owners are shown mapped, which an overlay refuses, and that is what /tmp
// of a container lies on.
func scratch() string {
	var st unix.Statfs_t
	if unix.Statfs(os.TempDir(), &st) == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC && unix.Access("/dev/shm", unix.W_OK) == nil {
		return "/dev/shm"
	}
	return ""
}

// mapOwnID gives a command of a user who is not root a user namespace with all
// ids that the user has.
func (c *Command) mapOwnID() {
	if userns.Here() == userns.Root || len(c.UIDs) > 0 {
		return
	}
	own := userns.Own()
	c.UIDs, c.GIDs = own.UIDs, own.GIDs
	if c.Root.Type == "overlay" && !slices.Contains(c.Root.Options, "userxattr") {
		c.Root.Options = append(slices.Clone(c.Root.Options), "userxattr")
	}
}

// start starts a compiled sandbox. Where the kernel makes no namespaces for it,
// the error says why.
func start(ctx context.Context, p *sandbox.Program, netns *os.File) (*sandbox.Process, error) {
	proc, err := sandbox.Start(ctx, p, netns)
	var clone *sandbox.CloneError
	var file *fs.PathError
	if errors.As(err, &clone) && slices.Contains([]unix.Errno{unix.ENOSPC, unix.EUSERS, unix.EPERM}, clone.Errno) ||
		errors.As(err, &file) && strings.HasSuffix(file.Path, "id_map") {
		return nil, userns.Refused(err)
	}
	return proc, err
}

func (c Command) perform(ctx context.Context, options sandbox.Options, group *cgroup.Group, io *execStreams) (Exit, error) {
	program, err := sandbox.Compile(options)
	if err != nil {
		return Exit{}, err
	}
	defer program.Close()
	var ns *os.File
	if c.Network != nil {
		ns = c.Network.ns
	}
	proc, err := start(ctx, program, ns)
	if err != nil {
		return Exit{}, err
	}
	defer proc.Close()
	stop := context.AfterFunc(ctx, func() {
		proc.Kill()
		if group != nil {
			group.Kill()
		}
	})
	defer stop()
	if group != nil {
		if err := group.Add(proc.PID()); err != nil {
			proc.Kill()
			proc.Wait()
			return Exit{}, proc.Cause(err)
		}
	}
	if err := proc.Release(); err != nil {
		return Exit{}, errors.Join(ctx.Err(), err)
	}
	io.start(proc.Console())
	status, err := proc.Wait()
	if err != nil {
		return Exit{}, fmt.Errorf("wait for command: %w", err)
	}
	if err := io.wait(); err != nil && ctx.Err() == nil {
		return Exit{}, fmt.Errorf("copy output: %w", err)
	}
	exit := exitOf(status)
	exit.Made = proc.Made()
	exit.OOMKilled = group != nil && group.OOMKilled()
	return exit, ctx.Err()
}

func exitOf(status syscall.WaitStatus) Exit {
	if status.Signaled() {
		return Exit{Code: 128 + int(status.Signal()), Signal: unix.SignalName(status.Signal())}
	}
	return Exit{Code: status.ExitStatus()}
}

// spec makes the specification of a build's command: Docker's build lets
// programs of a RUN gain what their files grant, so no_new_privs is off.
func (c Command) spec() (*specs.Spec, error) {
	network := "host" // born in the namespace of c.Network, which is set up already
	if c.Network == nil {
		network = "none"
	}
	o := ContainerOptions{
		Args: c.Args, WorkingDir: path.Join("/", c.Dir), User: c.User, Hostname: c.Hostname, ReadOnly: c.ReadOnly,
		Network: network, Resources: c.Limits, Ulimits: c.Ulimits, ShmSize: c.ShmSize, Privileged: c.Insecure,
		CapAdd: append(slices.Clone(buildCaps), c.CapAdd...), SecurityOpt: []string{"no-new-privileges=false"}, Terminal: c.TTY,
	}
	if c.Hostname == "" {
		o.Hostname = "hod"
	}
	s, err := Spec(ImageConfig{}, o)
	if err != nil {
		return nil, err
	}
	s.Process.Env = withPath(c.Env)
	if !c.Insecure {
		if s.Linux.Seccomp, err = seccomp.Default(s, "ptrace", "process_vm_readv", "process_vm_writev", "kcmp"); err != nil {
			return nil, err
		}
	}
	for _, m := range topDown(c.Mounts, func(m Mount) string { return m.Target }) {
		switch m.Type {
		case "fd":
		case "bind":
			options := []string{"rbind", "rprivate"}
			if m.ReadOnly {
				options = append(options, "ro")
			}
			s.Mounts = append(s.Mounts, specs.Mount{Destination: m.Target, Type: "bind", Source: m.Source, Options: options})
		case "tmpfs":
			s.Mounts = slices.DeleteFunc(s.Mounts, func(have specs.Mount) bool { return have.Destination == m.Target })
			options := append([]string{"nosuid"}, m.Options...)
			s.Mounts = append(s.Mounts, specs.Mount{Destination: m.Target, Type: "tmpfs", Source: "tmpfs", Options: options})
		default:
			return nil, fmt.Errorf("mount at %q: unknown type %q", m.Target, m.Type)
		}
	}
	user, err := c.user()
	if err != nil {
		return nil, err
	}
	SetUser(s, user)
	return s, nil
}

func withPath(env []string) []string {
	if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		return slices.Clone(env)
	}
	return append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
}

func (c Command) user() (User, error) {
	if c.ReadFile != nil {
		return LookupUser(c.ReadFile, c.User, nil)
	}
	var root *rootfs.Root
	switch {
	case c.Root.Detached != nil:
		root = rootfs.RootFrom(c.Root.Detached)
	case c.Root.Source != "":
		var err error
		if root, err = rootfs.OpenRoot(c.Root.Source); err != nil {
			return User{}, err
		}
		defer root.Close()
	default:
		return User{}, errors.New("look up user: the root is not mounted yet")
	}
	read := func(p string) ([]byte, error) { return root.ReadFileLimited(p, 16<<20) }
	return LookupUser(read, c.User, nil)
}

func (c Command) sandbox(s *specs.Spec) (sandbox.Options, error) {
	filter, err := Filter(s)
	if err != nil {
		return sandbox.Options{}, err
	}
	o := sandbox.Options{
		Spec: s, Root: sandbox.Root(c.Root), UIDs: sandboxRanges(c.UIDs), GIDs: sandboxRanges(c.GIDs), Filter: filter, Terminal: c.TTY, Die: true,
		Time: !c.Insecure, NoDev: !c.Insecure, JoinedNet: c.Network != nil, Unprivileged: userns.Here() == userns.Single, SameIDs: c.SameIDs || userns.Here() != userns.Root, ParentOpens: c.SameIDs,
	}
	for _, m := range topDown(c.Mounts, func(m Mount) string { return m.Target }) {
		if m.Type != "fd" {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(m.FD.Fd()), &st); err != nil {
			return sandbox.Options{}, fmt.Errorf("mount at %q: %w", m.Target, err)
		}
		file := st.Mode&unix.S_IFMT != unix.S_IFDIR
		o.Mounts = append(o.Mounts, sandbox.FDMount{Target: m.Target, FD: m.FD, File: file, ReadOnly: m.ReadOnly, Map: m.Map})
	}
	return o, nil
}

// group makes the command's control group. A machine that grants none is an
// error only when a limit was asked for.
func (c Command) group(s *specs.Spec) (*cgroup.Group, error) {
	id := make([]byte, 8)
	rand.Read(id)
	res := *s.Linux.Resources
	if len(c.UIDs) > 0 {
		res.Devices = nil // its user namespace makes and its mounts show no other
	}
	g, err := limitedGroup("exec-"+hex.EncodeToString(id), c.CgroupParent, c.Limits, &res)
	if err == nil {
		return g, nil
	}
	if c.Limits.Asked() || c.CgroupParent != "" {
		return nil, groupError{err}
	}
	return nil, nil
}
