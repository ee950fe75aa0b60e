//go:build linux

package runner

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Pause and unpause write the state too; what a health check changes does not undo it.
func TestUpdateKeepsWhatPauseSays(t *testing.T) {
	m := &monitor{c: &Container{Dir: t.TempDir()}, state: State{Status: StatusRunning}}
	for _, status := range []Status{StatusRunning, StatusPaused, StatusRunning, StatusPaused} {
		if err := m.c.saveState(&State{Status: status}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := m.update(func(s *State) { s.Health = &HealthState{Status: "healthy"} }); err != nil {
				t.Fatal(err)
			}
			if s, err := m.c.LoadState(); err != nil || s.Status != status || s.Health == nil {
				t.Fatalf("%s became %+v, %v", status, s, err)
			}
		}
	}
}

// Who waits for a container's end holds its lock for an instant, and is no monitor.
func TestLockPastThoseWhoWait(t *testing.T) {
	c := &Container{Dir: t.TempDir()}
	for _, name := range []string{"monitor", "config.json"} {
		if err := os.WriteFile(c.file(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	waiter, err := os.Open(c.file("monitor"))
	if err != nil {
		t.Fatal(err)
	}
	defer waiter.Close()
	if err := unix.Flock(int(waiter.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { unix.Flock(int(waiter.Fd()), unix.LOCK_UN) })
	lock, err := lockMonitor(c)
	if err != nil || lock == nil {
		t.Fatalf("lock %v, %v", lock, err)
	}
	defer lock.Close()
	if second, err := lockMonitor(c); second != nil || err != nil {
		t.Errorf("beside a monitor: %v, %v", second, err)
	}
}
