//go:build linux

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner/cgroup"
	"github.com/hodbuild/hod/runner/sandbox"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// running is a container's process seen from its monitor: the sandbox's own
// process, or that of another OCI runtime.
type running struct {
	pid    int
	cgroup string
	// console is the master of the terminal, nil without one. Without a
	// terminal stdin (nil when nobody feeds it), stdout and stderr are pipes.
	console, stdin, stdout, stderr *os.File
	network                        *NetworkState
	// wait blocks until the process is gone and everything of the sandbox is
	// taken away: its control groups, its network, its mounts.
	wait   func() (lastExit, error)
	signal func(unix.Signal) error
	// exec runs a health check and returns its exit code and output.
	exec func(ctx context.Context, args []string) (int, []byte, error)
}

// NewLauncher starts containers from the images of a store.
func NewLauncher(store *layers.Store) Launcher {
	return func(ctx context.Context, c *Container) (*running, error) {
		l := &launch{store: store, c: c, o: c.Options}
		r, err := l.start(ctx)
		if err != nil {
			l.undo()
			return nil, startError(err)
		}
		return r, nil
	}
}

// startError gives an error the exit code that docker has for it.
func startError(err error) error {
	switch {
	case errors.Is(err, sandbox.ErrNotFound):
		return &ExitError{Code: 127, Err: err}
	case errors.Is(err, sandbox.ErrNotExecutable):
		return &ExitError{Code: 126, Err: err}
	}
	return err
}

// launch is one start of a container: what was made so far, in the order in
// which undo takes it away again.
type launch struct {
	store *layers.Store
	c     *Container
	o     ContainerOptions

	// shared is the container whose network is taken part in.
	shared    *Container
	sharedPid int

	ids     *idMap
	root    rootfs.Mount
	spec    *specs.Spec
	user    User
	group   *cgroup.Group
	process process
	net     *connection
	pipes   pipes
	// trees are what hod opened for the sandbox to attach, claims the volumes
	// that are file systems of their own.
	trees  []sandbox.FDMount
	claims []claim
}

// undo takes away whatever was made. Each part may be missing.
func (l *launch) undo() error {
	var errs []error
	if l.process != nil {
		l.process.Kill()
		l.process.Wait()
		l.process.Close()
	}
	if l.net != nil {
		errs = append(errs, l.net.close())
	}
	if l.group != nil {
		errs = append(errs, l.group.Destroy())
	}
	errs = append(errs, l.root.Close())
	l.closeTrees()
	for _, c := range l.claims {
		errs = append(errs, c.close())
	}
	l.claims = nil
	if l.ids != nil {
		l.ids.close()
	}
	l.pipes.close()
	return errors.Join(errs...)
}

func (l *launch) closeTrees() {
	for _, t := range l.trees {
		t.FD.Close()
	}
	l.trees = nil
}

func (l *launch) start(ctx context.Context) (*running, error) {
	for _, step := range []func(context.Context) error{
		l.mapIDs, l.mountRoot, l.makeSpec, l.makePipes, l.create, l.connect, l.release,
	} {
		if err := step(ctx); err != nil {
			if l.process != nil {
				err = l.process.Cause(err)
			}
			return nil, err
		}
	}
	console, err := duplicate(l.process.Console())
	if err != nil {
		return nil, err
	}
	r := &running{
		pid: l.process.PID(), console: console, network: &l.net.state,
		stdin: l.pipes.parent[0], stdout: l.pipes.parent[1], stderr: l.pipes.parent[2],
		wait: l.wait, signal: l.process.Signal,
	}
	if l.group != nil {
		r.cgroup = writeGroups(l.group)
	}
	state := &State{Pid: r.pid, Cgroup: r.cgroup}
	r.exec = func(ctx context.Context, args []string) (int, []byte, error) { return probeExec(ctx, l.c, state, args) }
	for i := range 3 {
		if f := l.pipes.child[i]; f != nil {
			f.Close()
			l.pipes.child[i] = nil
		}
		l.pipes.parent[i] = nil // the monitor's now
	}
	return r, nil
}

// duplicate is a terminal of the monitor's own, which reads the last output when
// the process is gone and closed.
func duplicate(f *os.File) (*os.File, error) {
	if f == nil {
		return nil, nil
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("keep terminal: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // Fd made it wait
		return nil, fmt.Errorf("keep terminal: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func (l *launch) mapIDs(context.Context) (err error) {
	l.ids, err = newIDMap(&l.o)
	return err
}

// mountRoot shows the image with the container's own writable layer above it.
func (l *launch) mountRoot(ctx context.Context) error {
	o := layers.MountOptions{Writable: true, Dir: l.c.Dir, Volatile: l.o.AutoRemove}
	if l.ids.lease != nil {
		o.UIDs, o.GIDs = l.ids.ranges, l.ids.gids
	}
	snap, err := l.store.Mount(ctx, l.c.chain(), o)
	var shown *userns.MapError
	if errors.As(err, &shown) && l.o.UserNS == "" {
		l.ids.keep()
		o.UIDs, o.GIDs = nil, nil
		snap, err = l.store.Mount(ctx, l.c.chain(), o)
	}
	if err != nil {
		return err
	}
	l.root = snap.Root()
	return nil
}

// makeSpec makes the runtime specification, with the user looked up in the
// container's own files.
func (l *launch) makeSpec(ctx context.Context) error {
	if err := l.resolveNames(ctx); err != nil {
		return err
	}
	if err := l.writeFiles(); err != nil {
		return err
	}
	if err := l.bindVolumes(ctx); err != nil {
		return err
	}
	var err error
	if l.spec, err = Spec(l.c.Config, l.o); err != nil {
		return err
	}
	want := l.o.User
	if want == "" {
		want = l.c.Config.User
	}
	if l.user, err = LookupUser(l.readFile(ctx), want, l.o.GroupAdd); err != nil {
		return err
	}
	if len(l.o.GroupAdd) > 0 && l.ids.unprivileged {
		return fmt.Errorf("add group %q: who has one id may set no groups", l.o.GroupAdd[0])
	}
	SetUser(l.spec, l.user)
	showShared(l.spec, l.o)
	return nil
}

// readFile reads a small file of the container's root without a process in it.
func (l *launch) readFile(ctx context.Context) func(string) ([]byte, error) {
	if l.root.Detached != nil {
		return func(path string) ([]byte, error) {
			return rootfs.RootFrom(l.root.Detached).ReadFileLimited(path, 10<<20)
		}
	}
	return func(path string) ([]byte, error) {
		for _, dir := range append([]string{l.root.Upper}, l.root.Lower...) {
			root, err := rootfs.OpenRoot(dir)
			if err != nil {
				return nil, err
			}
			b, err := root.ReadFileLimited(path, 10<<20)
			gone := whiteout(root, path) || whiteout(root, filepath.Dir(path))
			root.Close()
			if gone {
				return nil, os.ErrNotExist
			}
			if !missing(err) {
				return b, err
			}
		}
		return nil, os.ErrNotExist
	}
}

// whiteout says whether a layer deletes a path.
func whiteout(root *rootfs.Root, path string) bool {
	st, err := root.Lstat(path)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// makeGroup makes the control groups. Where a user may make none, or none with
// the limits that every container has, one that was asked for no limit runs
// without; asked-for limits are an error.
func (l *launch) makeGroup(context.Context) error {
	var err error
	res := *l.spec.Linux.Resources
	if len(l.ids.ranges) > 0 && !l.o.limitsDevices() {
		res.Devices = nil
	}
	l.group, err = limitedGroup(l.c.ID, l.o.CgroupParent, l.o.Resources, &res)
	granted := userns.Here() == userns.Root && (!errors.Is(err, unix.EROFS) || res.Devices != nil) // read-only in a container
	if err != nil && !granted && !l.o.Resources.Asked() {
		l.group, _ = cgroup.Create(l.c.ID, l.o.CgroupParent, nil)
		return nil
	}
	if err != nil {
		return groupError{err}
	}
	return nil
}

// create makes the process, which waits for release.
func (l *launch) create(ctx context.Context) error {
	if l.o.Runtime != "" {
		return l.createOther(ctx)
	}
	if err := l.makeGroup(ctx); err != nil {
		return err
	}
	return l.clone(ctx)
}

// clone starts the child, which waits at the gate.
func (l *launch) clone(ctx context.Context) error {
	filter, err := Filter(l.spec)
	if err != nil {
		return err
	}
	netns, err := l.joinNetwork()
	if err != nil {
		return err
	}
	if netns != nil {
		defer netns.Close()
	}
	shared, err := l.openShared()
	if err != nil {
		return err
	}
	l.trees = append(l.trees, shared...)
	defer l.closeTrees()
	groups, err := showGroups(l.group, l.spec, l.trees, !l.o.Privileged)
	if err != nil {
		return err
	}
	l.trees = append(groups, l.trees...)
	p, err := sandbox.Compile(sandbox.Options{
		Mounts: l.trees, Spec: l.spec, UIDs: sandboxRanges(l.ids.ranges), GIDs: sandboxRanges(l.ids.gids), Unprivileged: l.ids.unprivileged, SameIDs: l.ids.same, ParentOpens: l.ids.same && userns.Here() == userns.Root,
		Root: sandbox.Root{
			Type: l.root.Type, Detached: l.root.Detached, Lower: l.root.Lower, Upper: l.root.Upper, Work: l.root.Work, Options: l.root.Options,
		},
		Time: !l.o.Privileged, Scope: l.o.scope(), NoDev: !l.o.Privileged, JoinedNet: netns != nil, Filter: filter, Init: l.o.Init, Terminal: l.o.Terminal, Die: true,
		Stdin: l.pipes.child[0], Stdout: l.pipes.child[1], Stderr: l.pipes.child[2],
	})
	if err != nil {
		return err
	}
	started, err := start(ctx, p, netns)
	if err != nil {
		p.Close()
		return err
	}
	l.process = started
	if l.group != nil {
		return l.group.Add(l.process.PID())
	}
	return nil
}

func sandboxRanges(ranges []layers.IDRange) []sandbox.Range {
	var out []sandbox.Range
	for _, r := range ranges {
		out = append(out, sandbox.Range{Inside: r.Inside, Outside: r.Outside, Count: r.Count})
	}
	return out
}

func (l *launch) release(context.Context) error {
	return l.process.Release()
}

// wait waits for the end and takes everything of the sandbox away.
func (l *launch) wait() (lastExit, error) {
	status, err := l.process.Wait()
	e := lastExitOf(status)
	if l.group != nil && l.group.OOMKilled() && e.ExitCode == 128+int(unix.SIGKILL) {
		e.OOMKilled = true
	}
	l.process.Close()
	l.process = nil
	return e, errors.Join(err, l.undo())
}

func lastExitOf(s syscall.WaitStatus) lastExit {
	if s.Signaled() {
		return lastExit{ExitCode: 128 + int(s.Signal())}
	}
	return lastExit{ExitCode: s.ExitStatus()}
}
