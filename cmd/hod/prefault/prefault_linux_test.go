package prefault

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"unsafe"
)

// TestMain is where the main goroutine is seen: its stack must be large enough for
// a command.
func TestMain(m *testing.M) {
	large, code := stays(), m.Run()
	if !large {
		fmt.Println("FAIL: the stack of the main goroutine is copied while a command runs")
		code = 1
	}
	os.Exit(code)
}

// stays tells whether the stack stays where it is under a call that takes 16 KiB of
// it.
func stays() bool {
	var here byte
	before := uintptr(unsafe.Pointer(&here))
	deep(16)
	return before == uintptr(unsafe.Pointer(&here))
}

//go:noinline
func deep(n int) byte {
	var room [1 << 10]byte
	if n > 0 {
		room[n] = deep(n - 1)
	}
	return room[n]
}

// TestPrefault: all of the code is there, though this program has touched little of it.
func TestPrefault(t *testing.T) {
	last := written&^uintptr(os.Getpagesize()-1) - 1 // the page of what is written may begin before it
	for _, at := range []uintptr{code, last} {
		if got, size := resident(t, at); got < size {
			t.Errorf("%d of %d bytes of what is only read at %#x are there", got, size, at)
		}
	}
}

// TestHeap: as much of the heap as a start needs is there. Where it begins is random,
// and the runtime maps it in parts of 4 MiB; where the first ends soon there is less,
// so most of several starts have to have it.
func TestHeap(t *testing.T) {
	if os.Getenv("HOD_TEST_HEAP") != "" {
		if got, _ := resident(t, uintptr(unsafe.Pointer(new([512]byte)))); got < heapUsed/2 { // some is behind it
			t.Errorf("%d bytes of heap are there, fewer than %d", got, heapUsed/2)
		}
		return
	}
	var failed []string
	const starts = 10
	for range starts {
		cmd := exec.Command(os.Args[0], "-test.run", "TestHeap")
		cmd.Env = append(os.Environ(), "HOD_TEST_HEAP=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			failed = append(failed, string(out))
		}
	}
	if len(failed) > starts/2 {
		t.Errorf("%d of %d starts: %s", len(failed), starts, failed[0])
	}
}

// resident is how much of the mapping around an address the process has, and how
// large that is.
func resident(t *testing.T, at uintptr) (rss, size uintptr) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inside := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			inside, size = from <= at && at < to, to-from
		} else if n, _ := fmt.Sscanf(lines.Text(), "Rss: %d kB", &rss); inside && n == 1 {
			return rss << 10, size
		}
	}
	t.Fatalf("no mapping at %#x", at)
	return 0, 0
}
