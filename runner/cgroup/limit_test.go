//go:build linux

package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hodbuild/hod/layers/granted"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestMemoryLimit: what counts is the least limit of a process's group and of those above it.
func TestMemoryLimit(t *testing.T) {
	if os.Getenv("HOD_TEST_LIMIT") != "" {
		fmt.Printf("limit %d\n", MemoryLimit())
		return
	}
	granted.NeedRoot(t, "control groups with limits")
	limited := func(id, parent string, limit int64) *Group {
		g, err := Create(id, parent, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Destroy() })
		return g
	}
	name := fmt.Sprintf("limit-%d", os.Getpid())
	above := limited(name, "", 96<<20)
	for _, c := range []struct{ own, want int64 }{{64 << 20, 64 << 20}, {128 << 20, 96 << 20}} {
		below := limited(fmt.Sprint(c.own), filepath.Join("/hod", name), c.own)
		for kind, dir := range below.Paths() {
			if kind != "memory" && kind != Unified {
				continue
			}
			got := inGroup(t, dir, "HOD_TEST_LIMIT=1 "+os.Args[0]+" -test.run='^TestMemoryLimit$'")
			if !strings.Contains(got, fmt.Sprintf("limit %d\n", c.want)) {
				t.Errorf("in a group of %d bytes below one of %d: %q", c.own, 96<<20, got)
			}
		}
		below.Destroy()
	}
	above.Destroy()
}
