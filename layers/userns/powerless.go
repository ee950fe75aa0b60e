//go:build linux

package userns

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Powerless says that this process is root by its number alone, as in a container: it may not mount, or not look at the
// namespaces that it makes. It has what a user has: a namespace that is made for it, where it is root over its ids.
func Powerless() bool {
	return os.Geteuid() == 0 && !(has(unix.CAP_SYS_ADMIN) && has(unix.CAP_SYS_PTRACE))
}

var effective = sync.OnceValue(func() (caps [2]unix.CapUserData) {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if unix.Capget(&head, &caps[0]) != nil {
		return [2]unix.CapUserData{{Effective: ^uint32(0)}, {Effective: ^uint32(0)}} // what is missing is then said by who misses it
	}
	return caps
})

func has(capability int) bool { return effective()[capability/32].Effective&(1<<(capability%32)) != 0 }

// mapping are the capabilities of root that may give a namespace several ids, and root among them (Linux 5.12).
var mapping = []struct {
	name   string
	number int
}{{"SETUID", unix.CAP_SETUID}, {"SETGID", unix.CAP_SETGID}, {"SETFCAP", unix.CAP_SETFCAP}}

// everybody maps the ids of this process's namespace to themselves, as root may without a helper: of the machine's as
// many as images use.
func everybody() (Map, error) {
	for _, c := range mapping {
		if !has(c.number) {
			return Map{}, fmt.Errorf("%w: root has no CAP_%s here", ErrNoSubordinate, c.name)
		}
	}
	p := placeOf(ReadMap("/proc/self/uid_map"), ReadMap("/proc/self/gid_map"))
	switch p.rung {
	case Root:
		return Shifted(0, 1<<16), nil
	case Mapped:
		return p.own, nil
	}
	return Map{}, fmt.Errorf("%w: the user namespace around hod has only one id", ErrNoSubordinate)
}
