// Package userns knows how ids inside a user namespace correspond to those outside, and makes namespaces and trees that
// follow such a map.
package userns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Range is a run of ids.
type Range struct{ Inside, Outside, Count uint32 }

// Map is how users and groups inside a namespace correspond to those outside.
type Map struct{ UIDs, GIDs []Range }

// Shifted maps the first count ids inside to those from base on.
func Shifted(base, count uint32) Map {
	r := []Range{{0, base, count}}
	return Map{UIDs: r, GIDs: r}
}

// SingleID maps root inside to the caller, and nobody else.
func SingleID() Map {
	return Map{
		UIDs: []Range{{0, uint32(os.Geteuid()), 1}}, GIDs: []Range{{0, uint32(os.Getegid()), 1}},
	}
}

// Single says whether only one user exists inside.
func (m Map) Single() bool { return len(m.UIDs) == 1 && m.UIDs[0].Count == 1 }

// Outside gives the ids outside for a user and a group inside.
func (m Map) Outside(uid, gid uint32) (u, g uint32, ok bool) {
	u, uok := outside(m.UIDs, uid)
	g, gok := outside(m.GIDs, gid)
	return u, g, uok && gok
}

func outside(ranges []Range, id uint32) (uint32, bool) {
	for _, r := range ranges {
		if id >= r.Inside && id-r.Inside < r.Count {
			return r.Outside + (id - r.Inside), true
		}
	}
	return 0, false
}

// Validate tells what is wrong with a map: empty, overflowing or overlapping ranges.
func (m Map) Validate() error {
	for _, ranges := range [][]Range{m.UIDs, m.GIDs} {
		if len(ranges) == 0 || len(ranges) > 340 {
			return errors.New("id map: from 1 to 340 ranges are possible")
		}
		for i, r := range ranges {
			if r.Count == 0 || uint64(r.Inside)+uint64(r.Count) > 1<<32-1 || uint64(r.Outside)+uint64(r.Count) > 1<<32-1 {
				return fmt.Errorf("id map: range %d:%d:%d is empty or too long", r.Inside, r.Outside, r.Count)
			}
			for _, q := range ranges[:i] {
				if r.Inside < q.Inside+q.Count && q.Inside < r.Inside+r.Count ||
					r.Outside < q.Outside+q.Count && q.Outside < r.Outside+r.Count {
					return fmt.Errorf("id map: ranges %v and %v overlap", q, r)
				}
			}
		}
	}
	return nil
}

// ErrNoSubordinate says that a user has no subordinate ids.
var ErrNoSubordinate = errors.New("no subordinate ids")

// Subordinate maps root inside to the user and the ids from 1 on to the user's subordinate ids.
func Subordinate(uid int) (Map, error) {
	name := ""
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		name = u.Username
	}
	uids, err := subordinate("/etc/subuid", name, uid)
	if err != nil {
		return Map{}, err
	}
	gids, err := subordinate("/etc/subgid", name, uid)
	if err != nil {
		return Map{}, err
	}
	m := Map{
		UIDs: append([]Range{{0, uint32(uid), 1}}, uids...),
		GIDs: append([]Range{{0, uint32(os.Getegid()), 1}}, gids...),
	}
	return m, m.Validate()
}

func subordinate(path, name string, uid int) ([]Range, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoSubordinate, err)
	}
	defer f.Close()
	ranges, err := parseSubordinate(f, name, uid)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return ranges, nil
}

func parseSubordinate(r io.Reader, name string, uid int) ([]Range, error) {
	var ranges []Range
	next := uint32(1)
	sc := bufio.NewScanner(io.LimitReader(r, 10<<20))
	for sc.Scan() {
		parts := strings.Split(strings.TrimSpace(sc.Text()), ":")
		if len(parts) != 3 || parts[0] != strconv.Itoa(uid) && (name == "" || parts[0] != name) {
			continue
		}
		start, err := strconv.ParseUint(parts[1], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", sc.Text(), err)
		}
		count, err := strconv.ParseUint(parts[2], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", sc.Text(), err)
		}
		if count == 0 {
			continue
		}
		ranges = append(ranges, Range{next, uint32(start), uint32(count)})
		next += uint32(count)
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if len(ranges) == 0 {
		return nil, fmt.Errorf("%w for user %d: add a line like %d:100000:65536", ErrNoSubordinate, uid, uid)
	}
	return ranges, nil
}

// File gives the descriptor of a new user namespace with a map. A helper process holds the namespace until it is open.
func File(m Map) (*os.File, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		if f, err := idle(m); err == nil || !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
			return f, err
		}
	}
	// The helper is this program stopped at its first instruction: traced, it executes nothing of its own.
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL, Ptrace: true,
		UidMappings: sysMap(m.UIDs), GidMappings: sysMap(m.GIDs), GidMappingsEnableSetgroups: os.Geteuid() == 0,
	}
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result)
	go func() {
		// The thread that traces must stay until the helper has gone, and it is not used again.
		lockThread()
		if err := cmd.Start(); err != nil {
			done <- result{nil, fmt.Errorf("make user namespace: %w", err)}
			return
		}
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
		cmd.Process.Kill()
		cmd.Wait()
		done <- result{f, err}
	}()
	r := <-done
	return r.f, r.err
}

func sysMap(ranges []Range) []syscall.SysProcIDMap {
	m := make([]syscall.SysProcIDMap, len(ranges))
	for i, r := range ranges {
		m[i] = syscall.SysProcIDMap{ContainerID: int(r.Inside), HostID: int(r.Outside), Size: int(r.Count)}
	}
	return m
}

// IDMapTree clones the mount of a folder so that its owners are seen through a namespace's map: what root owns on disk
// belongs to root inside. The descriptor is a detached mount.
func IDMapTree(dir string, ns *os.File) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: dir, Err: err}
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "mount_setattr", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), dir), nil
}
