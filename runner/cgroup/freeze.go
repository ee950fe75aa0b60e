//go:build linux

package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// freezers are how each hierarchy is told to stop its processes, and where it
// says that they did.
var freezers = []struct{ group, file, on, off, state, isOn, isOff string }{
	{"freezer", "freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN", "THAWED"},
	{Unified, "cgroup.freeze", "1", "0", "cgroup.events", "frozen 1", "frozen 0"},
}

// Freeze stops, or lets go on, every process of the group, and returns when it
// is so.
func (g *Group) Freeze(frozen bool) error {
	for _, f := range freezers {
		dir, ok := g.paths[f.group]
		if !ok {
			continue
		}
		want, is := f.off, f.isOff
		if frozen {
			want, is = f.on, f.isOn
		}
		return settle(filepath.Join(dir, f.file), want, filepath.Join(dir, f.state), is)
	}
	return errors.New("this container has no control group that can be frozen (without root, delegation of cgroup v2 is needed)")
}

// Frozen says whether the processes of the group are stopped.
func (g *Group) Frozen() bool {
	for _, f := range freezers {
		if dir, ok := g.paths[f.group]; ok {
			b, err := os.ReadFile(filepath.Join(dir, f.state))
			return err == nil && strings.Contains(string(b), f.isOn)
		}
	}
	return false
}

// settle writes to a control file until another one says that it is so.
func settle(file, want, state, is string) error {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if err := os.WriteFile(file, []byte(want), 0); err != nil {
			return err
		}
		if b, err := os.ReadFile(state); err == nil && strings.Contains(string(b), is) {
			return nil
		}
	}
	return errors.New("the processes did not come to rest within ten seconds")
}
