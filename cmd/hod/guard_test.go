package main_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// What every start of hod pays before main, whatever the verb.
const (
	maxInitMillis = 2.0     // the least of several starts: a busy machine only adds
	maxInitBytes  = 1 << 20 // on any machine the same, but for a few per cent
)

// TestGuardStart holds the work of package initialisation.
func TestGuardStart(t *testing.T) {
	least, bytes := 1e9, 0
	for range 20 {
		cmd := exec.Command(hod, "version")
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("hod version: %v\n%s", err, out)
		}
		var millis float64
		millis, bytes = initTrace(t, string(out))
		least = min(least, millis)
	}
	t.Logf("package initialisation: %.2f ms, %d bytes", least, bytes)
	if least > maxInitMillis {
		t.Errorf("package initialisation takes %.2f ms, more than %.0f", least, maxInitMillis)
	}
	if bytes == 0 || bytes > maxInitBytes {
		t.Errorf("package initialisation allocates %d bytes, more than %d or not seen", bytes, maxInitBytes)
	}
}

// initTrace sums lines like "init os @0.1 ms, 0.02 ms clock, 500 bytes, 12 allocs".
func initTrace(t *testing.T, out string) (millis float64, bytes int) {
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 10 || f[0] != "init" {
			continue
		}
		m, err := strconv.ParseFloat(f[4], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		b, err := strconv.Atoi(f[7])
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		millis, bytes = millis+m, bytes+b
	}
	return millis, bytes
}
