//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

type idMaps struct {
	uids, gids []Range
	single     bool // written without privilege: setgroups is denied first
}

type rlimit struct {
	name       string
	which      int
	soft, hard uint64
	late       bool // the sandbox itself opens more: see lateLimits
}

// Root is the tree that becomes the container's root: Detached when it is
// mounted already, Type overlay with its folders, or else Source, a plain one.
type Root struct {
	Target, Type, Source string
	Options              []string
	Detached             *os.File
	Lower                []string
	Upper, Work          string
}

// FDMount is a tree that the caller opened (a detached mount) and that is
// attached at Target.
type FDMount struct {
	Target   string
	FD       *os.File
	File     bool // the tree is a single file
	ReadOnly bool
	// Map shows its owners as the user namespace has them; else it does already.
	Map bool
}

// Options is what a Program is compiled from.
type Options struct {
	Spec   *specs.Spec
	Root   Root
	Mounts []FDMount
	// UIDs and GIDs are the maps of a new user namespace; none: the caller's.
	// Unprivileged says that the caller may map no id but its own.
	UIDs, GIDs   []Range
	Unprivileged bool
	// SameIDs says that files belong inside to whom they belong in the
	// caller's namespace: no tree's owners are mapped.
	SameIDs bool
	// ParentOpens says that the caller opens the trees, where the user namespace
	// may not walk to them.
	ParentOpens bool
	// Ready, where it is not nil, is a fifo open for reading and writing: the
	// sandbox is complete, Release returns, and the program is executed when
	// somebody writes a byte into it.
	Ready *os.File
	// Scope is what Landlock withholds; Time says that the program has a time
	// namespace of its own.
	Scope Scope
	Time  bool
	// NoDev hides the devices of the root and of bind mounts from a user
	// namespace, where those that are given come by mounts of their own.
	NoDev bool
	// JoinedNet says that the child is born in a network namespace that is not
	// its own, so its sysctls are not touched.
	JoinedNet bool
	// Filter is a seccomp program (struct sock_filter, packed); nil: none.
	Filter []byte
	// FilterFlags are the kernel's flags for loading it.
	FilterFlags           int
	Stdin, Stdout, Stderr *os.File // nil: /dev/null
	Terminal              bool     // a terminal of the container's own instead
	Init                  bool     // pid 1 is a reaper and the program its child
	Die                   bool     // the child dies with the thread that started it
	Leave                 bool     // the caller ends before the child, and does not reap it
}

// namespaceFlags are the clone flags of the specification's namespaces.
var namespaceFlags = []struct {
	kind specs.LinuxNamespaceType
	flag uint64
	name string
}{
	{specs.UserNamespace, unix.CLONE_NEWUSER, "NEWUSER"},
	{specs.MountNamespace, unix.CLONE_NEWNS, "NEWNS"},
	{specs.PIDNamespace, unix.CLONE_NEWPID, "NEWPID"},
	{specs.NetworkNamespace, unix.CLONE_NEWNET, "NEWNET"},
	{specs.IPCNamespace, unix.CLONE_NEWIPC, "NEWIPC"},
	{specs.UTSNamespace, unix.CLONE_NEWUTS, "NEWUTS"},
	{specs.CgroupNamespace, unix.CLONE_NEWCGROUP, "NEWCGROUP"},
	{specs.TimeNamespace, unix.CLONE_NEWTIME, "NEWTIME"},
}

func cloneFlags(f uint64) string {
	var names []string
	for _, n := range namespaceFlags {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, "|")
}

// compiler carries what one part of the table leaves for the next.
type compiler struct {
	*Program
	o       Options
	spec    *specs.Spec
	join    []joined
	root    any // descriptor of the root mount: int or slot
	mounts  []gathered
	devices []gathered
	nulls   []slot // clones of the host's /dev/null, see nullFile
	userns  bool
	peers   bool            // the child has not parted with the host's mounts yet
	joins   uint64          // flags of namespaces of others
	private map[uint64]bool // flags of namespaces that are new
	cgroup  bool            // unshare the cgroup namespace after the gate
	joining bool            // the sandbox is another process's
	failed  error           // of what the parent makes
	proc    any             // descriptor of the new proc, when there is one
}

type joined struct {
	flag uint64
	path string
}

// Compile makes the table for o. The Program owns pipes: Close it.
func Compile(o Options) (*Program, error) {
	if o.Spec == nil || o.Spec.Process == nil || len(o.Spec.Process.Args) == 0 {
		return nil, errors.New("compile sandbox: the specification names no program")
	}
	c := &compiler{Program: newProgram(), o: o, spec: o.Spec, private: map[uint64]bool{}}
	steps := []func() error{
		c.namespaces, c.pipes, c.descriptors, c.gate, c.gather, c.enterRoot, c.attach, c.makeDevices,
		c.terminal, c.secondGate, c.identity, c.maskPaths, c.protectPaths, c.earlyFolder, c.finishRoot, c.workingFolder,
		c.privilege, c.execute,
	}
	for _, step := range steps {
		if err := errors.Join(step(), c.failed); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c.Program, nil
}

func (c *compiler) namespaces() error {
	if c.spec.Linux == nil {
		c.spec.Linux = &specs.Linux{}
	}
	for _, ns := range c.spec.Linux.Namespaces {
		flag, err := namespaceFlag(ns.Type)
		if err != nil {
			return err
		}
		switch {
		case ns.Path != "":
			c.join = append(c.join, joined{flag, ns.Path})
			c.joins |= flag
		case flag == unix.CLONE_NEWTIME:
			c.o.Time = true // entered by execve, see timeNamespace
		case flag == unix.CLONE_NEWCGROUP:
			c.cgroup = true // after the parent placed the child in its group
		default:
			c.flags |= flag
			c.private[flag] = true
		}
	}
	if (c.flags|c.joins)&unix.CLONE_NEWNS == 0 {
		return errors.New("compile sandbox: a mount namespace is required: without one the container's mounts and root would be the host's")
	}
	if len(c.o.UIDs) > 0 {
		c.flags |= unix.CLONE_NEWUSER
		c.userns = true
		c.maps = idMaps{uids: c.o.UIDs, gids: c.o.GIDs, single: c.o.Unprivileged}
	} else if c.flags&unix.CLONE_NEWUSER != 0 {
		return errors.New("compile sandbox: a user namespace needs id maps")
	}
	// In its own process namespace nobody can see the child's memory, which is
	// the parent's. A child that stays (Init), and what the kernel does to all
	// processes that share memory (OOM adjustment), need a copy.
	c.gates = 2
	if c.cgroup && slices.ContainsFunc(c.spec.Mounts, func(m specs.Mount) bool { return strings.HasPrefix(m.Type, "cgroup") }) {
		c.gates = 1 // what is mounted shows the namespace's root
	}
	c.leave = c.o.Leave
	c.shared = c.private[unix.CLONE_NEWPID] && !c.o.Init && c.o.Ready == nil && os.Geteuid() == 0 && c.spec.Process.OOMScoreAdj == nil
	return c.rlimits()
}

// dumpable follows a change of user: the kernel makes the memory of who changes it
// unreadable to its owner, and here it is the parent's too. Among processes of
// others it must be so, whatever fs.suid_dumpable says.
func (c *compiler) dumpable() {
	switch {
	case c.joining:
		c.hide()
	case c.shared:
		c.call("keep the parent's memory its own", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	}
}

func namespaceFlag(kind specs.LinuxNamespaceType) (uint64, error) {
	for _, n := range namespaceFlags {
		if n.kind == kind {
			return n.flag, nil
		}
	}
	return 0, fmt.Errorf("compile sandbox: unknown namespace %q", kind)
}

func (c *compiler) rlimits() error {
	for _, l := range c.spec.Process.Rlimits {
		which, ok := rlimitNumber(l.Type)
		if !ok {
			return fmt.Errorf("compile sandbox: unknown limit %q", l.Type)
		}
		if l.Soft > l.Hard {
			return fmt.Errorf("compile sandbox: %s: soft limit %d is above the hard limit %d", l.Type, l.Soft, l.Hard)
		}
		c.limits = append(c.limits, rlimit{l.Type, which, l.Soft, l.Hard, which == unix.RLIMIT_NOFILE})
	}
	c.oom = c.spec.Process.OOMScoreAdj
	var err error
	c.sched, err = schedulingOf(c.spec.Process)
	return err
}

// pipes opens the gate and the pipe whose end tells that execve happened.
func (c *compiler) pipes() error {
	var err error
	if c.syncR, c.syncW, err = pipe(); err != nil {
		return err
	}
	if c.doneR, c.doneW, err = pipe(); err != nil {
		return err
	}
	c.own = append(c.own, c.syncR, c.syncW, c.doneR, c.doneW)
	return nil
}

func pipe() (*os.File, *os.File, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("make pipe: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe"), nil
}

// gate makes the child wait for the parent, then become root of its user
// namespace.
func (c *compiler) gate() error {
	c.awaitParent()
	if c.userns {
		c.call("become group 0 of the user namespace", unix.SYS_SETRESGID, 0, 0, 0)
		c.call("become user 0 of the user namespace", unix.SYS_SETRESUID, 0, 0, 0)
		c.dumpable()
	}
	for _, j := range c.join {
		f, err := os.Open(j.path)
		if err != nil {
			return fmt.Errorf("open namespace: %w", err)
		}
		c.own = append(c.own, f)
		if j.flag == unix.CLONE_NEWPID { // setns changes it for children only
			c.pidns = f
			continue
		}
		c.inherit(f)
		c.call("join namespace "+j.path, unix.SYS_SETNS, int(f.Fd()), int(j.flag))
	}
	if c.gates == 1 {
		c.cgroupNamespace()
	}
	c.call("join a new session keyring", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0).accept(unix.ENOSYS, unix.EPERM, unix.EDQUOT)
	c.call("start a session", unix.SYS_SETSID).accept(unix.EPERM)
	c.call("clear the file mode mask", unix.SYS_UMASK, 0)
	if c.peers = c.flags&unix.CLONE_NEWNS != 0 && !c.userns && slices.ContainsFunc(c.spec.Mounts, staysRelated); !c.peers {
		c.partWithHost()
	}
	return nil
}

// partWithHost keeps what the child mounts from the host's tree, and the host's from
// the child's.
func (c *compiler) partWithHost() {
	c.call("make mounts private", unix.SYS_MOUNT, 0, "/", 0, unix.MS_REC|unix.MS_PRIVATE, 0)
}

// secondGate makes the child wait for what the parent did meanwhile: control
// groups and network.
func (c *compiler) secondGate() error {
	if c.gates == 2 {
		c.awaitParent()
		c.cgroupNamespace()
	}
	return nil
}

// cgroupNamespace follows the placing of the child: its root is where it is.
func (c *compiler) cgroupNamespace() {
	if c.cgroup {
		c.call("make a cgroup namespace", unix.SYS_UNSHARE, int(unix.CLONE_NEWCGROUP))
	}
}

// awaitParent makes the child wait until Release; a parent that is gone ends it.
func (c *compiler) awaitParent() {
	fd := int(c.syncR.Fd())
	e := c.call("wait for the parent", unix.SYS_READ, fd, make([]byte, 8), 1)
	e.jump = c.here() + 1
	c.entries = append(c.entries, entry{kind: kindFail, what: "wait for the parent", args: [6]any{int(unix.ECANCELED)}, out: -1, onError: -1, jump: -1})
}

// inherit keeps a descriptor open in the child.
func (c *compiler) inherit(f *os.File) { c.keep = append(c.keep, f) }

// descriptors puts stdio in place and leaves room for closing all else: which
// descriptors stay is known only at the end, see closeOthers.
func (c *compiler) descriptors() error {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open stdio: %w", err)
	}
	defer null.Close()
	for i, f := range []*os.File{c.o.Stdin, c.o.Stdout, c.o.Stderr} {
		if f == nil || c.o.Terminal {
			f = null
		}
		if err := c.give(f); err != nil {
			return fmt.Errorf("give the process its pipe: %w", err)
		}
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 10)
		if err != nil {
			return fmt.Errorf("duplicate stdio: %w", err)
		}
		high := os.NewFile(uintptr(fd), "stdio")
		c.own = append(c.own, high)
		c.inherit(high)
		c.call(fmt.Sprintf("place descriptor %d", i), unix.SYS_DUP3, fd, i, 0)
	}
	c.inherit(c.syncR)
	c.inherit(c.doneW)
	return nil
}

// give makes a pipe the process's own, so that it can open /dev/stdout, which the kernel checks as it does a file.
func (c *compiler) give(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	uid := outsideOf(c.o.UIDs, c.spec.Process.User.UID)
	if st.Mode&unix.S_IFMT != unix.S_IFIFO || int(st.Uid) == uid || os.Geteuid() != 0 {
		return nil
	}
	if err := unix.Fchown(int(f.Fd()), uid, -1); err != unix.EINVAL && err != unix.EPERM { // the id may not exist here
		return err
	}
	return nil
}

// Close closes what the parent no longer needs. It may be called twice.
func (p *Program) Close() error {
	for _, f := range p.own {
		f.Close()
	}
	p.own = nil
	return nil
}
