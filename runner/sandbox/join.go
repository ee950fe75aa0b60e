//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// JoinOptions describe a process that joins a running sandbox.
type JoinOptions struct {
	PID     int // a process of the sandbox, as the caller sees it
	Process *specs.Process
	Filter  []byte
	// FilterFlags are the kernel's flags for loading it.
	FilterFlags int
	// Unprivileged says that the caller is not root on this machine.
	Unprivileged          bool
	Stdin, Stdout, Stderr *os.File
	Terminal              bool
	Die                   bool
	Leave                 bool // the caller ends before the child, and does not reap it
	// Shared lets the child live in the caller's memory until it executes its
	// program. The caller is root of the machine, and may die with the child where
	// that is killed for the memory that its control group has not.
	Shared bool
}

// CompileJoin makes the table of a process that enters the namespaces of
// another. A process namespace is entered by children only: a thread of the
// caller's enters it and the child is born in it (Shared), or the child forks
// once, the second one becomes the caller's own (as if it had cloned it) and the
// first one ends.
func CompileJoin(o JoinOptions) (*Program, error) {
	if o.Process == nil || len(o.Process.Args) == 0 {
		return nil, errors.New("join sandbox: no program given")
	}
	spec := &specs.Spec{Process: o.Process, Linux: &specs.Linux{}}
	c := &compiler{
		Program: newProgram(), spec: spec, private: map[uint64]bool{}, joining: true,
		o: Options{
			Spec: spec, UIDs: uidMap(o.PID), Filter: o.Filter, FilterFlags: o.FilterFlags, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr,
			Terminal: o.Terminal, Die: o.Die, Unprivileged: o.Unprivileged,
		},
	}
	c.leave = o.Leave
	c.shared = o.Shared && o.Process.OOMScoreAdj == nil
	enter := func() error { return c.enter(o.PID) }
	for _, step := range []func() error{c.rlimits, c.pipes, c.descriptors, enter, c.terminal, c.workingFolder, c.privilege, c.execute} {
		if err := step(); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c.Program, nil
}

// uidMap is the map of a process's user namespace, as this process sees it.
func uidMap(pid int) []Range {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", pid))
	if err != nil {
		return nil // the process is gone, which entering it tells
	}
	var ranges []Range
	for line := range strings.Lines(string(text)) {
		var r Range
		if _, err := fmt.Sscan(line, &r.Inside, &r.Outside, &r.Count); err == nil {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// enter makes the child undumpable before it is seen inside, so that a process
// of the sandbox cannot trace it or look into its descriptors (CVE-2016-9962).
func (c *compiler) enter(pid int) error {
	flags, err := differing(pid)
	if err != nil {
		return err
	}
	target, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("join sandbox of process %d: %w", pid, err)
	}
	// Who shares its memory enters no time namespace, so it does where the clocks are the same.
	if flags&unix.CLONE_NEWTIME != 0 && c.shared {
		if c.shared = !clocksDiffer(pid); c.shared {
			flags &^= unix.CLONE_NEWTIME
		}
	}
	f := os.NewFile(uintptr(target), "pidfd")
	c.own = append(c.own, f)
	c.inherit(f)
	if c.shared && flags&unix.CLONE_NEWPID != 0 {
		c.pidns, flags = f, flags&^unix.CLONE_NEWPID
	}
	c.awaitParent()
	if err := c.appArmor(); err != nil {
		return err
	}
	c.hide()
	c.call("join the sandbox", unix.SYS_SETNS, target, int(flags))
	if flags&unix.CLONE_NEWUSER != 0 {
		c.call("become group 0 of the user namespace", unix.SYS_SETRESGID, 0, 0, 0)
		c.call("become user 0 of the user namespace", unix.SYS_SETRESUID, 0, 0, 0)
		c.dumpable()
	}
	if flags&unix.CLONE_NEWPID != 0 {
		c.forkOnce()
	}
	c.call("start a session", unix.SYS_SETSID)
	c.call("join a new session keyring", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0).accept(unix.ENOSYS, unix.EPERM, unix.EDQUOT)
	return nil
}

// forkOnce goes on in a child, which is the caller's own.
func (c *compiler) forkOnce() {
	fork := c.call("enter the process namespace", unix.SYS_CLONE, int(unix.CLONE_PARENT|uint64(unix.SIGCHLD)), 0, 0, 0, 0)
	c.child = c.result(fork)
	at := c.here() - 1
	over := c.jump("the second child goes on")
	c.entries[at].jump = c.here()
	c.call("leave the second child to the caller", unix.SYS_EXIT_GROUP, 0)
	c.entries[over].jump = c.here()
	c.hide()
}

// hide makes the child's memory, which may be the caller's too, unreadable and
// untraceable for who is not root of the machine, until it executes its program.
func (c *compiler) hide() {
	c.call("hide from the sandbox", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// differing are the clone flags of the namespaces of pid that are not ours.
func differing(pid int) (uint64, error) {
	var flags uint64
	for _, n := range []struct {
		file string
		flag uint64
	}{
		{"user", unix.CLONE_NEWUSER}, {"mnt", unix.CLONE_NEWNS}, {"pid", unix.CLONE_NEWPID}, {"net", unix.CLONE_NEWNET},
		{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"cgroup", unix.CLONE_NEWCGROUP}, {"time", unix.CLONE_NEWTIME},
	} {
		theirs, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/" + n.file)
		if n.flag == unix.CLONE_NEWTIME && errors.Is(err, os.ErrNotExist) {
			continue // a kernel without
		}
		if err != nil {
			return 0, fmt.Errorf("join sandbox of process %d: %w", pid, err)
		}
		ours, err := os.Readlink("/proc/self/ns/" + n.file)
		if err != nil {
			return 0, fmt.Errorf("join sandbox: %w", err)
		}
		if theirs != ours {
			flags |= n.flag
		}
	}
	return flags, nil
}

// clocksDiffer says whether a process's time namespace shifts its clocks.
func clocksDiffer(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/timens_offsets", pid))
	for _, word := range strings.Fields(string(text)) {
		if n, err := strconv.ParseInt(word, 10, 64); err == nil && n != 0 {
			return true
		}
	}
	return err != nil // it may
}
