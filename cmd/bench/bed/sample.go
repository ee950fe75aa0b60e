package bed

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Sample is one measurement.
type Sample struct {
	Wall    time.Duration
	CPU     time.Duration // of the processes, their children and the daemons
	Client  int64         // bytes of memory at the peak of the largest process
	Daemon  int64         // the same of the daemons, added up
	Written int64         // bytes that reached the disk, after a sync
	Wire    int64         // bytes through the loopback interface
	Stays   int64         // resident bytes of what stays outside of the container, where that is asked
}

// Command is a process to be measured.
type Command struct {
	Argv []string
	Env  []string
}

// Measure runs the commands one after another, or all at once, and then takes
// the figures of what they and the daemons used.
func (b *Bed) Measure(commands []Command, atOnce bool, daemons []int) (Sample, error) {
	b.Settle()
	for _, pid := range daemons { // 5 resets the peak of the resident set: proc(5)
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
	}
	disk, wire, cpu := b.sectors(), loopback(), daemonCPU(daemons)
	used, err := b.starter.run(commands, atOnce)
	s := Sample{Wall: used.Wall, CPU: used.CPU, Client: used.Memory}
	if err != nil {
		return s, err
	}
	s.Wire = loopback() - wire
	s.CPU += daemonCPU(daemons) - cpu
	for _, pid := range daemons {
		s.Daemon += peak(pid)
	}
	b.Settle()
	s.Written = (b.sectors() - disk) * 512
	return s, nil
}

// Settle waits until nothing is left to be written.
func (b *Bed) Settle() {
	if d, err := os.Open(b.Disk); err == nil {
		_ = unix.Syncfs(int(d.Fd())) // an unwritten figure is the worst that can follow
		d.Close()
	}
}

// Run performs a command that is not measured.
func (c Command) Run() error {
	_, err := c.start()()
	return err
}

// sectors that were written to the disk.
func (b *Bed) sectors() int64 { return field(filepath.Join("/sys/block", b.device, "stat"), "", 6) }

// loopback counts the bytes that went over this namespace's lo.
func loopback() int64 { return field("/proc/self/net/dev", "lo:", 1) }

// peak is the most memory that a process held since its peak was reset.
func peak(pid int) int64 {
	return field(fmt.Sprintf("/proc/%d/status", pid), "VmHWM:", 1) << 10
}

// Processes are those that run now, in this bed and below it.
func Processes() map[int]bool {
	now := map[int]bool{}
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, name := range names {
		pid, _ := strconv.Atoi(filepath.Base(name))
		now[pid] = true
	}
	return now
}

// Stays adds up the resident memory of the processes that have come since, those in
// process namespaces of their own left out: these are the container.
func Stays(before map[int]bool) (bytes int64) {
	time.Sleep(300 * time.Millisecond) // what ends or shrinks after a start has time to
	here, _ := os.Readlink("/proc/self/ns/pid")
	for pid := range Processes() {
		if ns, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); ns == here && !before[pid] {
			bytes += field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:", 1) << 10
		}
	}
	return bytes
}

// daemonCPU adds up the time of daemons and of their children that ended.
func daemonCPU(pids []int) time.Duration {
	var ticks int64
	for _, pid := range pids {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if _, rest, ok := strings.Cut(string(b), ") "); ok {
			f := strings.Fields(rest)
			for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
				n, _ := strconv.ParseInt(f[i], 10, 64)
				ticks += n
			}
		}
	}
	return time.Duration(ticks) * (time.Second / 100)
}

// field reads a number: the n-th word of the line that begins with that word.
func field(path, line string, n int) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(b)) {
		f := strings.Fields(l)
		if len(f) > n && (line == "" || f[0] == line) {
			v, _ := strconv.ParseInt(f[n], 10, 64)
			return v
		}
	}
	return 0
}
