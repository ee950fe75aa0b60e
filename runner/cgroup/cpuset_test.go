//go:build linux

package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCpusetIsWithinWhatTheGroupAboveHas(t *testing.T) {
	for _, file := range []string{"cpuset.cpus.effective", "cpuset.effective_cpus"} {
		above := t.TempDir()
		if err := os.WriteFile(filepath.Join(above, file), []byte("0-1,4-5\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		for list, want := range map[string]string{
			"0": "", "0-1": "", "1,4-5": "", "0,5,1": "", "99": "there is no 99 here, only 0-1,4-5", "0-2": "there is no 2 here, only 0-1,4-5",
		} {
			asked, err := parseList(list)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := within(above, "cpuset.cpus", asked); err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("%s: %q gives %q, want %q", file, list, got, want)
			}
		}
	}
	for _, bad := range []string{"nope", "1-0", "1,", "", "-1"} {
		if spans, err := parseList(bad); err == nil {
			t.Errorf("%q is a list of %v", bad, spans)
		}
	}
	if err := within(t.TempDir(), "cpuset.mems", [][2]int{{0, 3}}); err != nil {
		t.Errorf("where nothing is known: %v", err)
	}
}
