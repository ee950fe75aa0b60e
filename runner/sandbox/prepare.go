//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// prepare does what only the parent may do for a child that waits at the gate.
func (p *Process) prepare() error {
	p.program.doneW.Close()
	for _, l := range p.program.limits {
		limit := unix.Rlimit{Cur: l.soft, Max: l.hard}
		if l.late {
			limit.Max = max(l.hard, ownLimit(l.which))
			limit.Cur = limit.Max
		}
		if err := unix.Prlimit(p.pid, l.which, &limit, nil); err != nil {
			return fmt.Errorf("set limit %s to %d:%d, where hod itself may have less: %w", l.name, l.soft, l.hard, err)
		}
	}
	if adj := p.program.oom; adj != nil {
		file := "/proc/" + strconv.Itoa(p.pid) + "/oom_score_adj"
		if err := os.WriteFile(file, strconv.AppendInt(nil, int64(*adj), 10), 0); errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("set the OOM score adjustment to %d: only root may make it less than that of hod", *adj)
		} else if err != nil {
			return fmt.Errorf("set the OOM score adjustment: %w", err)
		}
	}
	if err := p.program.sched.apply(p.pid); err != nil {
		return err
	}
	if err := p.program.maps.write(p.pid); err != nil {
		return err
	}
	return p.program.mapTrees(p.pid)
}

// ownLimit is the parent's hard limit, which the child may lower itself.
func ownLimit(which int) uint64 {
	var own unix.Rlimit
	_ = unix.Getrlimit(which, &own)
	return own.Max
}

// mapTrees gives the trees that the parent opened the owners that the child's
// user namespace sees.
func (p *Program) mapTrees(pid int) error {
	if len(p.idmap) == 0 {
		return nil
	}
	ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
	if err != nil {
		return fmt.Errorf("open user namespace: %w", err)
	}
	defer ns.Close()
	for _, m := range p.idmap {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
		flags := uint(unix.AT_EMPTY_PATH)
		if m.recursive {
			flags |= unix.AT_RECURSIVE
		}
		if err := unix.MountSetattr(int(m.tree.Fd()), "", flags, &attr); err != nil {
			return fmt.Errorf("map the owners of %q (--userns=host does without): %w", m.tree.Name(), err)
		}
	}
	return nil
}

func (m idMaps) write(pid int) error {
	if len(m.uids) == 0 {
		return nil
	}
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	if m.single {
		if err := os.WriteFile(dir+"setgroups", []byte("deny"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("deny setgroups: %w", err)
		}
	}
	for name, ranges := range map[string][]Range{"uid_map": m.uids, "gid_map": m.gids} {
		var b []byte
		for _, r := range ranges {
			b = fmt.Appendf(b, "%d %d %d\n", r.Inside, r.Outside, r.Count)
		}
		if err := os.WriteFile(dir+name, b, 0); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}
