//go:build linux

package main_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// What every start of hod pays before main, whatever the verb. Time would tell
// of the machine; bytes and allocations tell of the work, the same everywhere
// but for a few per cent.
const (
	maxInitBytes  = 400 << 10
	maxInitAllocs = 2700
)

// TestGuardStart holds the work of package initialisation.
func TestGuardStart(t *testing.T) {
	cmd := exec.Command(hod, "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("hod version: %v\n%s", err, out)
	}
	bytes, allocs := initTrace(t, string(out))
	t.Logf("package initialisation: %d bytes, %d allocations", bytes, allocs)
	if bytes == 0 || bytes > maxInitBytes {
		t.Errorf("package initialisation allocates %d bytes, more than %d or not seen", bytes, maxInitBytes)
	}
	if allocs == 0 || allocs > maxInitAllocs {
		t.Errorf("package initialisation makes %d allocations, more than %d or not seen", allocs, maxInitAllocs)
	}
}

// initTrace sums lines like "init os @0.1 ms, 0.02 ms clock, 500 bytes, 12 allocs".
func initTrace(t *testing.T, out string) (bytes, allocs int) {
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 10 || f[0] != "init" {
			continue
		}
		b, berr := strconv.Atoi(f[7])
		a, aerr := strconv.Atoi(f[9])
		if berr != nil || aerr != nil {
			t.Fatalf("%q: no bytes or allocations", line)
		}
		bytes, allocs = bytes+b, allocs+a
	}
	return bytes, allocs
}
