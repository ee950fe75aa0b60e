//go:build linux

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/hodbuild/hod/layers/snapshot"
	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner/cgroup"
	"github.com/hodbuild/hod/runner/sandbox"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Grant is one thing that was tried on this machine: whether it was granted,
// what it is good for, and what would raise it.
type Grant struct {
	Name    string
	Granted bool
	What    string
	Raise   string
}

// Rungs tries what isolation this machine grants to this user with a store in the folder dir, and names the rung.
func Rungs(_ context.Context, dir string) (rung string, grants []Grant) {
	space := tryNamespaces()
	ids := tryIDs()
	root := os.Geteuid() == 0 && userns.Here() == userns.Root
	own := Grant{Granted: true}
	grants = append(grants, space, ids)
	if root && space.Granted {
		own = tryOwners(dir)
		grants = append(grants, own)
	}
	grants = append(grants, tryGroups(), tryNetwork(space.Granted))
	return rungName(space.Granted, root, own.Granted, ids.Granted), grants
}

// tryOwners looks whether the store's file system can be seen with other owners.
func tryOwners(dir string) Grant {
	g := Grant{Name: "ids of their own", Granted: true, What: "root of a container is nobody on this machine"}
	at, err := os.MkdirTemp(dir, ".try-")
	if err != nil {
		return g // a store that is not there yet, or that is not this user's: who runs something hears of it
	}
	defer os.Remove(at)
	ids := []userns.Range{{Outside: idFirst, Count: idCount}}
	if err := snapshot.ShowsOwners(at, snapshot.Options{UIDs: ids, GIDs: ids}); err != nil {
		g.Granted, g.Raise = false, err.Error()
		var shown *userns.MapError
		if errors.As(err, &shown) && shown.Hint() != "" {
			g.Raise = shown.Hint()
		}
	}
	return g
}

func rungName(spaces, root, own, ids bool) string {
	switch {
	case !spaces:
		return "no namespaces: recipes without RUN build; nothing runs"
	case root && !own:
		return "root: containers in a user namespace of their own, with the ids of the machine"
	case root:
		return "root: containers in a user namespace of their own, a range of 65536 ids each"
	case ids:
		return "user with subordinate ids: images of many users, everything in user namespaces"
	}
	return "user with one id: everything in a user namespace, all files are one user's"
}

func tryNamespaces() Grant {
	g := Grant{Name: "user namespaces", What: "a process that is root over nothing but itself"}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{trial + "=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS, Pdeathsig: unix.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	cmd.Args = []string{"hod", "version"}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() <= len(trials) {
		g.Raise = (&sandbox.StepError{Step: trials[exit.ExitCode()-1], Errno: unix.EPERM}).Hint()
		return g
	}
	if err != nil && exit == nil {
		refused := userns.Refused(err)
		g.Raise = refused.Error()
		if h, ok := refused.(*userns.RefusedError); ok && h.Hint() != "" {
			g.Raise += "; " + h.Hint()
		}
		return g
	}
	g.Granted = true
	return g
}

// trial is the variable by which a hod knows that it only tries something for [Rungs].
const trial = "_HOD_TRY"

// trials are the steps of a sandbox that something around hod may refuse though it grants namespaces.
var trials = []string{"pivot into the root", "make proc for /proc", "set the host name"}

// Tried is the beginning of a program that [Rungs] starts in namespaces of its own: it tells by its exit code which of the
// trials was refused. In any other one it does nothing.
func Tried() {
	if os.Getenv(trial) == "" {
		return
	}
	if errors.Is(unix.PivotRoot("/", "/"), unix.EPERM) { // else EBUSY: it is the root already
		os.Exit(1)
	}
	if unix.Mount("proc", "/proc", "proc", 0, "") != nil {
		os.Exit(2)
	}
	if unix.Sethostname([]byte("hod")) != nil { // in a namespace of its own
		os.Exit(3)
	}
	os.Exit(0)
}

func tryIDs() Grant {
	g := Grant{Name: "several ids", What: "images whose files belong to many users, USER, chown"}
	if err := userns.Missing(); err != nil {
		g.Raise = strings.TrimPrefix(err.Error(), "only one id is granted here: ")
		if m, serr := userns.Subordinate(os.Geteuid(), os.Getegid()); serr == nil {
			g.Granted, g.Raise = true, ""
			if g.What += fmt.Sprintf(" (%d)", m.UIDs[len(m.UIDs)-1].Inside+m.UIDs[len(m.UIDs)-1].Count); os.Geteuid() != 0 {
				g.What = strings.TrimSuffix(g.What, ")") + " from /etc/subuid)"
			}
		}
		return g
	}
	g.Granted = true
	return g
}

func tryGroups() Grant {
	g := Grant{Name: "control groups", What: "--memory, --cpus, --pids-limit, stats, pause"}
	group, err := cgroup.Create(fmt.Sprintf("info-%d", os.Getpid()), "", &specs.LinuxResources{})
	if err != nil {
		g.Raise = raiseGroups() + " (" + err.Error() + ")"
		return g
	}
	g.Granted = group.Destroy() == nil
	return g
}

// raiseGroups is how one who may not make control groups comes by them.
func raiseGroups() string {
	if _, unified, err := cgroup.Mounts(); err == nil && !unified {
		return "only root may make control groups of version 1, which this machine uses; the kernel gives users those of version 2"
	}
	return "start hod in a control group that is yours: systemd-run --user --scope -p Delegate=yes hod …"
}

// groupError is a control group that could not be made, with what would help.
type groupError struct{ error }

func (e groupError) Unwrap() error { return e.error }

// Hint is for who is not root, or not of the machine: a limit that is asked for and cannot be set is an error.
func (e groupError) Hint() string {
	if errors.Is(e, unix.EROFS) {
		return "control groups are read-only here, as in a container; leave the limits out, or give them to the container around hod"
	}
	if os.Geteuid() == 0 && userns.Here() == userns.Root {
		return ""
	}
	return raiseGroups() + "; or leave the limits out"
}

func tryNetwork(namespaces bool) Grant {
	g := Grant{Name: "private network", What: "bridge and NAT by nftables"}
	if userns.Here() != userns.Root {
		g.What = "a relay in a second namespace, published ports above " + lowestPort()
	}
	if g.Granted = namespaces; !namespaces {
		g.Raise = "it needs user namespaces"
	}
	return g
}

// lowestPort is from where on users may listen.
func lowestPort() string {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return "1024"
	}
	return strings.TrimSpace(string(b))
}

// Kernel names the kernel that runs here.
func Kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown kernel"
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}
