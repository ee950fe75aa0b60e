//go:build linux

// Package cgroup puts a sandbox into control groups of its own, on the unified
// hierarchy (v2), the old ones (v1), or both mounted side by side (hybrid).
//
// A Group is a folder in each hierarchy that has a controller we use; on v2 it
// is one folder. Limits are written before the process is placed, and one that
// was asked for and cannot be set is an error. The kernel removes nothing by
// itself: Destroy kills what is left and removes the folders.
package cgroup

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Group is a sandbox's control group.
type Group struct {
	paths map[string]string
}

// Unified is the name under which Paths lists the folder of cgroup v2.
const Unified = "unified"

// always are the v1 controllers that each group has: for limits, accounts, the
// freezer of pause.
var always = []string{"memory", "pids", "cpu", "cpuacct", "freezer"}

// Create makes the group parent/id and writes the limits. An empty parent is
// /hod, for an ordinary user hod in the group that was delegated to it.
func Create(id, parent string, res *specs.LinuxResources) (*Group, error) {
	if id == "" || strings.ContainsAny(id, "/\x00\n") || id == ".." || slices.Contains(strings.Split(parent, "/"), "..") {
		return nil, fmt.Errorf("create control group %q in %q: not a name", id, parent)
	}
	if res == nil {
		res = &specs.LinuxResources{}
	}
	mounts, err := hierarchies()
	if err != nil {
		return nil, err
	}
	g := &Group{paths: map[string]string{}}
	settings := settingsOf(res)
	if base, ok := mounts[Unified]; ok && mounts["memory"] == "" {
		err = g.createUnified(base, cmp.Or(parent, home(base)), id, settings)
	} else {
		err = g.createOld(mounts, cmp.Or(parent, "/hod"), id, settings, len(res.Devices) > 0)
	}
	if err == nil {
		err = g.limitDevices(res.Devices)
	}
	if err != nil {
		g.Destroy()
		return nil, err
	}
	return g, nil
}

// Open is the group of the folders that Paths gave.
func Open(paths map[string]string) *Group { return &Group{paths: paths} }

// Of is the group that another runtime put a process into. The roots of the
// hierarchies are nobody's group.
func Of(pid int) (*Group, error) {
	mounts, err := mounted()
	if err != nil {
		return nil, err
	}
	all, err := groupsOf(strconv.Itoa(pid))
	g := &Group{paths: map[string]string{}}
	for name, path := range all {
		m := mounts[name]
		below := m.below(path)
		if m.at != "" && below != "/" && !strings.Contains(name, "=") && (name != Unified || mounts["memory"].at == "") {
			g.paths[name] = filepath.Join(m.at, below)
		}
	}
	return g, err
}

// Paths lists the folders by controller, "unified" for v2.
func (g *Group) Paths() map[string]string { return g.paths }

func (g *Group) createUnified(base, parent, id string, settings []setting) error {
	at := base
	for _, part := range strings.Split(strings.Trim(parent, "/"), "/") {
		if err := passOn(at, base); err != nil {
			return err
		}
		at = filepath.Join(at, part)
		if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("create control group: %w", err)
		}
	}
	if err := passOn(at, base); err != nil {
		return err
	}
	at = filepath.Join(at, id)
	if err := g.take(Unified, at); err != nil {
		return err
	}
	for _, s := range settings {
		if s.v2 == "" {
			return fmt.Errorf("set %s: control groups version 2 have no such limit", s.name)
		}
		if err := setLimit(at, s.v2, s.v2Value); err != nil && !s.optional {
			return fmt.Errorf("set %s: %w", s.name, err)
		}
	}
	return nil
}

func (g *Group) createOld(mounts map[string]string, parent, id string, settings []setting, devices bool) error {
	need := slices.Clone(always)
	if devices {
		need = append(need, "devices")
	}
	for _, s := range settings {
		if !slices.Contains(need, s.controller) {
			need = append(need, s.controller)
		}
	}
	for _, c := range need {
		base, ok := mounts[c]
		if !ok {
			continue // a limit that needs it fails below
		}
		path := filepath.Join(base, parent, id)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("create control group: %w", err)
		}
		if c == "cpuset" {
			inheritCpuset(base, parent)
		}
		if err := g.take(c, path); err != nil {
			return err
		}
		if c == "cpuset" {
			inheritCpuset(filepath.Join(base, parent), id)
		}
	}
	for _, s := range settings {
		if s.v1 == "" {
			return fmt.Errorf("set %s: control groups version 1 have no such limit", s.name)
		}
		path, ok := g.paths[s.controller]
		if !ok && !s.optional {
			return fmt.Errorf("set %s: the kernel offers no %s controller", s.name, s.controller)
		}
		if err := setLimit(path, s.v1, s.v1Value); err != nil && !s.optional {
			return fmt.Errorf("set %s: %w", s.name, err)
		}
	}
	return nil
}

// take makes the group's own folder. One that was there may be what a killed
// runtime left, or who started hod made it; with processes it is somebody
// else's, who would be killed with the group.
func (g *Group) take(controller, path string) error {
	switch err := os.Mkdir(path, 0o755); {
	case errors.Is(err, os.ErrExist):
		if pids := Open(map[string]string{controller: path}).Pids(); len(pids) > 0 {
			return fmt.Errorf("create control group %s: there are processes in it already, such as %d", path, pids[0])
		}
	case err != nil:
		return fmt.Errorf("create control group: %w", err)
	}
	g.paths[controller] = path
	return nil
}

// inheritCpuset copies cpus and mems downwards: a v1 cpuset starts empty and
// takes no process until it has both.
func inheritCpuset(base, below string) {
	at := base
	for _, part := range strings.Split(strings.Trim(below, "/"), "/") {
		next := filepath.Join(at, part)
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			have, _ := os.ReadFile(filepath.Join(next, f))
			if strings.TrimSpace(string(have)) == "" {
				from, _ := os.ReadFile(filepath.Join(at, f))
				_ = os.WriteFile(filepath.Join(next, f), from, 0)
			}
		}
		at = next
	}
}

// weightFiles are what the one scheduler of disks that counts weights calls them since Linux 5.0.
var weightFiles = map[string]string{"blkio.weight": "blkio.bfq.weight", "blkio.weight_device": "blkio.bfq.weight_device"}

func write(dir, file, value string) error {
	if strings.Contains(file, "/") { // it may be named by a specification
		return fmt.Errorf("%q is no control file", file)
	}
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if _, gone := os.Stat(dir); errors.Is(err, os.ErrNotExist) && gone == nil {
		if other := weightFiles[file]; other != "" {
			return write(dir, other, value)
		}
		return fmt.Errorf("this kernel's control groups have no %s", file)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// Add places a process, and so all that it will start, in the group.
func (g *Group) Add(pid int) error {
	for _, p := range g.paths {
		if err := write(p, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("enter control group: %w", err)
		}
	}
	return nil
}

// Pids lists the processes of the group and of the groups that were made in it.
func (g *Group) Pids() []int {
	var out []int
	seen := map[int]bool{}
	for _, dir := range g.folders() {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil && n > 0 && !seen[n] {
				seen[n] = true
				out = append(out, n)
			}
		}
	}
	return out
}

// folders are the group's and those below, each before what is in it.
func (g *Group) folders() []string {
	var out []string
	for _, p := range g.paths {
		filepath.WalkDir(p, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				out = append(out, path)
			}
			return nil
		})
	}
	return out
}

// Kill kills every process of the group.
func (g *Group) Kill() {
	if p, ok := g.paths[Unified]; ok && write(p, "cgroup.kill", "1") == nil {
		return
	}
	for _, pid := range g.Pids() {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// OOMKilled says whether the kernel killed a process of the group because the
// group was out of memory.
func (g *Group) OOMKilled() bool {
	file := filepath.Join(g.paths["memory"], "memory.oom_control")
	if p, ok := g.paths[Unified]; ok {
		file = filepath.Join(p, "memory.events")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strings.TrimSpace(n) != "0"
		}
	}
	return false
}

// Destroy kills what is left in the group, stopped or not, and removes its
// folders with those below. A process that is just dying holds a folder for a
// moment.
func (g *Group) Destroy() error {
	var errs []error
	for name, p := range g.paths {
		var err error
		for i := range 100 {
			if err = unix.Rmdir(p); err == nil || err == unix.ENOENT {
				break
			}
			if i == 0 && g.Frozen() {
				_ = g.Freeze(false) // else the old freezer keeps them from dying
			}
			g.Kill()
			below := Open(map[string]string{name: p}).folders()
			for _, dir := range slices.Backward(below) {
				_ = unix.Rmdir(dir)
			}
			time.Sleep(time.Duration(min(i+1, 20)) * time.Millisecond)
		}
		if err != nil && err != unix.ENOENT {
			errs = append(errs, fmt.Errorf("remove control group %s: %w", p, err))
			continue
		}
		delete(g.paths, name)
	}
	return errors.Join(errs...)
}

// Mounts names the old hierarchies whose controllers are used, and says whether
// the unified one is used instead.
func Mounts() (old []string, unified bool, err error) {
	mounts, err := hierarchies()
	if err != nil {
		return nil, false, err
	}
	for _, c := range append(slices.Clone(always), "devices", "cpuset", "blkio") {
		if mounts[c] != "" {
			old = append(old, c)
		}
	}
	return old, len(old) == 0, nil
}
