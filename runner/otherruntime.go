//go:build linux

package runner

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner/cgroup"
	"github.com/hodbuild/hod/runner/sandbox"
	"github.com/hodbuild/hod/runner/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// process is the first process of a container: the sandbox's own, or that of
// another OCI runtime.
type process interface {
	PID() int
	Console() *os.File
	Release() error
	Signal(unix.Signal) error
	Kill() error
	Wait() (syscall.WaitStatus, error)
	Close() error
	Cause(error) error
}

// portable makes the specification one that every OCI runtime takes.
func portable(s *specs.Spec) {
	s.Version = "1.0.2" // the oldest that has all that we use: older runtimes refuse newer ones
	s.Linux.Seccomp = seccomp.Portable(s.Linux.Seccomp)
}

// checkRuntime says whether there is a runtime of that name.
func (o *ContainerOptions) checkRuntime() error {
	if o.Runtime == "" {
		return nil
	}
	if userns.Here() != userns.Root || os.Geteuid() != 0 {
		return fmt.Errorf("runtime %q: other runtimes need root; 'hod spec' writes a bundle for them", o.Runtime)
	}
	if o.UserNS == "private" || o.IPCNS != "" && o.IPCNS != "host" && o.IPCNS != "private" {
		return fmt.Errorf("runtime %q: --userns private and --ipc container:NAME are of hod's own sandbox", o.Runtime)
	}
	if _, err := exec.LookPath(o.Runtime); err != nil {
		return fmt.Errorf("find runtime: %w", err)
	}
	return nil
}

// ociRuntime is another runtime, with the container that it is asked about.
type ociRuntime struct{ path, id, log string }

func (c *Container) ociRuntime() ociRuntime {
	return ociRuntime{path: c.Options.Runtime, id: c.ID, log: c.file("runtime.log")}
}

func (r ociRuntime) command(ctx context.Context, verb string, args ...string) *exec.Cmd {
	words := append([]string{"--root", filepath.Join(runDir, "oci", filepath.Base(r.path)), "--log", r.log, "--log-format", "json", verb}, args...)
	return exec.CommandContext(ctx, r.path, words...)
}

// run calls the runtime; its own words of what went wrong are the error.
func (r ociRuntime) run(cmd *exec.Cmd) error {
	os.Remove(r.log)
	err := cmd.Run()
	if err == nil {
		return nil
	}
	what := r.said()
	if what == "" {
		return fmt.Errorf("%s %s: %w", filepath.Base(r.path), cmd.Args[7], err)
	}
	code := 125
	switch {
	case strings.Contains(what, "executable file not found") || strings.Contains(what, "o such file or directory") && strings.Contains(what, "exec"):
		code = 127
	case strings.Contains(what, "ermission denied") && strings.Contains(what, "exec"):
		code = 126
	}
	return &ExitError{Code: code, Err: fmt.Errorf("%s: %s", filepath.Base(r.path), what)}
}

// said is the last error in the runtime's log.
func (r ociRuntime) said() string {
	text, _ := os.ReadFile(r.log)
	last := ""
	for line := range bytes.Lines(text) {
		var l struct{ Level, Msg string }
		if json.Unmarshal(line, &l) == nil && l.Level == "error" && l.Msg != "" {
			last = l.Msg
		}
	}
	return strings.TrimSpace(last)
}

// foreignProcess is the first process of a container of another runtime.
type foreignProcess struct {
	runtime ociRuntime
	pid     int
	process *os.Process
	console *os.File
}

func (p *foreignProcess) PID() int              { return p.pid }
func (p *foreignProcess) Console() *os.File     { return p.console }
func (p *foreignProcess) Cause(err error) error { return err }
func (p *foreignProcess) Kill() error           { return p.Signal(unix.SIGKILL) }
func (p *foreignProcess) Signal(sig unix.Signal) error {
	return p.process.Signal(sig)
}

// Release starts the program.
func (p *foreignProcess) Release() error {
	return p.runtime.run(p.runtime.command(context.Background(), "start", p.runtime.id))
}

// Wait reaps the process, which came to hod when the runtime left it.
func (p *foreignProcess) Wait() (syscall.WaitStatus, error) {
	state, err := p.process.Wait()
	if err != nil {
		return 0, fmt.Errorf("wait for container: %w", err)
	}
	return state.Sys().(syscall.WaitStatus), nil
}

func (p *foreignProcess) Close() error {
	if p.console != nil {
		p.console.Close()
	}
	p.runtime.delete()
	return nil
}

func (r ociRuntime) delete() { _ = r.command(context.Background(), "delete", "--force", r.id).Run() } // what it left is seen by nobody

// createOther makes the container with the runtime that was asked for, which
// stops before the program.
func (l *launch) createOther(ctx context.Context) error {
	dir := l.c.file("bundle")
	if err := l.writeBundle(dir); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt processes: %w", err)
	}
	p := &foreignProcess{runtime: l.c.ociRuntime()}
	pidFile := filepath.Join(dir, "pid")
	args := []string{"--bundle", dir, "--pid-file", pidFile}
	var consoles net.Listener
	if l.o.Terminal {
		socket := filepath.Join(runDir, "oci", l.c.ShortID()+".tty") // a socket's name is short
		err := os.MkdirAll(filepath.Dir(socket), 0o700)
		if err == nil {
			consoles, err = listenIn(filepath.Dir(socket), filepath.Base(socket))
		}
		if err != nil {
			return fmt.Errorf("listen for terminal: %w", err)
		}
		defer os.Remove(socket)
		defer consoles.Close()
		args = append(args, "--console-socket", socket)
	}
	cmd := p.runtime.command(ctx, "create", append(args, l.c.ID)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nilFile(l.pipes.child[0]), nilWriter(l.pipes.child[1]), nilWriter(l.pipes.child[2])
	tree, err := l.tree()
	if err != nil {
		return err
	}
	if err := inPrivateMounts(tree, filepath.Join(dir, "rootfs"), func() error { return p.runtime.run(cmd) }); err != nil {
		p.runtime.delete()
		return err
	}
	l.process = p
	if err := p.adopt(pidFile, consoles); err != nil {
		p.runtime.delete()
		l.process = nil
		return err
	}
	l.group, err = cgroup.Of(p.pid)
	return err
}

// tree is the container's root as a mount that is nowhere yet.
func (l *launch) tree() (*os.File, error) {
	if l.root.Detached == nil && l.root.Type == "overlay" {
		tree, err := rootfs.MountOverlay(l.root, 0)
		l.root.Detached = tree // closed with the rest
		return tree, err
	}
	if l.root.Detached != nil {
		return l.root.Detached, nil
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, l.root.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open root %q: %w", l.root.Source, err)
	}
	l.root.Detached = os.NewFile(uintptr(fd), l.root.Source)
	return l.root.Detached, nil
}

func nilFile(f *os.File) io.Reader {
	if f == nil {
		return nil
	}
	return f
}

func nilWriter(f *os.File) io.Writer {
	if f == nil {
		return nil
	}
	return f
}

// adopt finds the process that the runtime made, and its terminal.
func (p *foreignProcess) adopt(pidFile string, consoles net.Listener) error {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return fmt.Errorf("find the runtime's process: %w", err)
	}
	if p.pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		return fmt.Errorf("find the runtime's process: %w", err)
	}
	if p.process, err = os.FindProcess(p.pid); err != nil || consoles == nil {
		return err
	}
	conn, err := consoles.Accept()
	if err != nil {
		return fmt.Errorf("receive terminal: %w", err)
	}
	defer conn.Close()
	f, err := conn.(*net.UnixConn).File()
	if err != nil {
		return fmt.Errorf("receive terminal: %w", err)
	}
	defer f.Close()
	p.console, err = sandbox.ReceiveTerminal(f)
	return err
}

// writeBundle writes config.json and the folder for the root.
func (l *launch) writeBundle(dir string) error {
	os.RemoveAll(dir)
	if err := os.MkdirAll(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	portable(l.spec)
	l.spec.Linux.CgroupsPath = filepath.Join("/", cmp.Or(l.o.CgroupParent, "hod"), l.c.ID)
	if l.shared != nil {
		l.spec.Linux.Namespaces = append(l.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: fmt.Sprintf("/proc/%d/ns/net", l.sharedPid)})
	}
	text, err := json.Marshal(l.spec)
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600)
}

// inPrivateMounts calls fn on a thread that alone sees the tree at target. What
// fn starts sees it too, and the thread ends with it.
func inPrivateMounts(tree *os.File, target string, fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is not fit for others
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.MoveMount(int(tree.Fd()), "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
		}
		if err != nil {
			done <- fmt.Errorf("mount root for the runtime: %w", err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// execOther runs a process by way of the container's own runtime.
func execOther(ctx context.Context, c *Container, s *State, o ExecOptions, f Foreground) (int, error) {
	spec, err := execSpec(c, s, o)
	if err != nil {
		return 0, err
	}
	portable(spec)
	file, err := os.CreateTemp(c.Dir, "exec-")
	if err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	defer os.Remove(file.Name())
	spec.Process.Terminal = o.Terminal
	if err := errors.Join(json.NewEncoder(file).Encode(spec.Process), file.Close()); err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	r := c.ociRuntime()
	r.log = file.Name() + ".log"
	defer os.Remove(r.log)
	args := []string{"--process", file.Name()}
	if o.Detach {
		args = append(args, "--detach")
	}
	cmd := r.command(ctx, "exec", append(args, c.ID)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f.Stdin, f.Stdout, f.Stderr
	if o.Detach {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, nil, nil
	}
	err = r.run(cmd)
	var failed *exec.ExitError
	if r.said() == "" && errors.As(err, &failed) {
		return failed.ExitCode(), nil
	}
	return 0, err
}
