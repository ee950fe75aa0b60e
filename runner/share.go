//go:build linux

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner/sandbox"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// sharesKernel says that the container is to see the processes or the IPC
// objects of others, who are nobody's in a user namespace of its own.
func (o *ContainerOptions) sharesKernel() bool {
	return sharedMode(o.PIDNS) || sharedMode(o.IPCNS)
}

func sharedMode(mode string) bool {
	return mode == "host" || strings.HasPrefix(mode, "container:") || strings.HasPrefix(mode, "/")
}

// resolveShared turns --pid and --ipc container:NAME into namespaces by path.
func (l *launch) resolveShared(ctx context.Context) error {
	for _, ns := range []struct {
		flag, file string
		mode       *string
	}{{"pid", "pid", &l.o.PIDNS}, {"ipc", "ipc", &l.o.IPCNS}} {
		ref, shared := strings.CutPrefix(*ns.mode, "container:")
		if !shared {
			continue
		}
		cs := &Containers{dir: filepath.Dir(l.c.Dir)}
		other, s, err := cs.mustRun(ctx, ref)
		if err != nil {
			return fmt.Errorf("--%s container:%s: %w", ns.flag, ref, err)
		}
		if !sameFile(fmt.Sprintf("/proc/%d/ns/user", s.Pid), "/proc/self/ns/user") {
			return fmt.Errorf("--%s container:%s: container %s has a user namespace of its own; start it with --userns=host", ns.flag, ref, other.Name)
		}
		*ns.mode = fmt.Sprintf("/proc/%d/ns/%s", s.Pid, ns.file)
	}
	return nil
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	y, yerr := os.Stat(b)
	return err == nil && yerr == nil && os.SameFile(x, y)
}

// showShared makes /proc, /dev/shm and /dev/mqueue those of the namespaces that
// are shared. Only a namespace's owner may mount its own, so who is not root
// gets the host's by a bind.
func showShared(s *specs.Spec, o ContainerOptions) {
	bind := func(target string) {
		i := slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == target })
		if i < 0 || s.Mounts[i].Type == "bind" {
			return
		}
		if _, err := os.Stat(target); err != nil {
			s.Mounts = slices.Delete(s.Mounts, i, i+1)
			return
		}
		s.Mounts[i] = specs.Mount{Destination: target, Type: "bind", Source: target, Options: []string{"rbind", "rprivate", "nosuid", "noexec", "nodev"}}
	}
	if o.PIDNS == "host" && userns.Here() != userns.Root {
		bind("/proc")
	}
	if o.IPCNS == "host" {
		bind("/dev/shm")
		bind("/dev/mqueue")
	}
	if strings.HasSuffix(o.IPCNS, "/ns/ipc") { // openShared brings it
		s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/dev/shm" && m.Type == "tmpfs" })
	}
}

// openShared gives the /dev/shm of the container whose IPC namespace is shared.
// A mount can be cloned only inside of its own mount namespace, so a thread goes
// there, and ends there.
func (l *launch) openShared() ([]sandbox.FDMount, error) {
	proc, shared := strings.CutSuffix(l.o.IPCNS, "/ns/ipc")
	if !shared || slices.ContainsFunc(l.spec.Mounts, func(m specs.Mount) bool { return m.Destination == "/dev/shm" }) {
		return nil, nil
	}
	ns, err := os.Open(proc + "/ns/mnt")
	if err != nil {
		return nil, fmt.Errorf("share /dev/shm: %w", err)
	}
	defer ns.Close()
	type answer struct {
		fd  int
		err error
	}
	done := make(chan answer)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is not fit for others
		if err := errors.Join(unix.Unshare(unix.CLONE_FS), unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS)); err != nil {
			done <- answer{err: err}
			return
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, "/dev/shm", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		done <- answer{fd, err}
	}()
	a := <-done
	if a.err != nil {
		return nil, fmt.Errorf("share /dev/shm: %w", a.err)
	}
	return []sandbox.FDMount{{Target: "/dev/shm", FD: os.NewFile(uintptr(a.fd), "/dev/shm")}}, nil
}

// mountsFrom are the volumes and binds of other containers, NAME[:ro|rw], which
// a container made with --volumes-from has too.
func (cs *Containers) mountsFrom(refs []string, have []MountSpec) ([]MountSpec, error) {
	for _, ref := range refs {
		name, mode, moded := strings.Cut(ref, ":")
		if moded && mode != "ro" && mode != "rw" && mode != "z" && mode != "Z" {
			return nil, fmt.Errorf("--volumes-from %q: the mode is ro or rw", ref)
		}
		id, err := cs.resolve(name)
		if err != nil {
			return nil, fmt.Errorf("--volumes-from %s: %w", ref, err)
		}
		other, err := loadContainer(filepath.Join(cs.dir, id))
		if err != nil {
			return nil, fmt.Errorf("--volumes-from %s: %w", ref, errors.Join(ErrNoContainer, err))
		}
		for _, m := range other.Options.Mounts {
			taken := slices.ContainsFunc(have, func(h MountSpec) bool { return h.Target == m.Target })
			if taken || m.Type != "volume" && m.Type != "bind" {
				continue
			}
			m.ReadOnly = m.ReadOnly || mode == "ro"
			have = append(have, m)
		}
	}
	return have, nil
}
