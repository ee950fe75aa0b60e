// Package bed is the place where tools are measured.
//
// A system disk carries its history into every figure, and a network its
// traffic. So a [Bed] is made anew: a journaled ext4 in an image in memory for
// what is measured, a memory file system for what is not (the registries'
// files), a loopback interface of its own, whose counters are the bytes on the
// wire, and namespaces of its own, so that whatever a tool leaves behind ends
// with the benchmark ([Enter]). One [Sample] is one measurement of some
// processes from their start to their end.
package bed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Bed is the folders of one benchmark.
type Bed struct {
	Disk    string // on the journaled image: stores, contexts
	Memory  string // what must cost nothing: registries, archives to check
	device  string // the image's loop device, as below /sys/block
	starter *starter
}

// Make makes the bed in dir, on a disk of this many bytes.
func Make(dir string, size int64) (*Bed, error) {
	memory := filepath.Join(dir, "memory")
	disk := filepath.Join(dir, "disk")
	for _, d := range []string{memory, disk} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	if err := unix.Mount("bench", memory, "tmpfs", 0, "size=90%"); err != nil {
		return nil, fmt.Errorf("mount tmpfs: %w", err)
	}
	image := filepath.Join(memory, "disk.img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(image, size); err != nil {
		return nil, err
	}
	for _, argv := range [][]string{
		// Lazy initialisation would go on writing while we measure.
		{"mkfs.ext4", "-q", "-F", "-i", "8192", "-E", "lazy_itable_init=0,lazy_journal_init=0", image},
		{"mount", "-o", "loop", image, disk},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", argv[0], err, out)
		}
	}
	device, err := deviceOf(disk)
	if err != nil {
		return nil, err
	}
	starter, err := newStarter()
	return &Bed{Disk: disk, Memory: memory, device: device, starter: starter}, err
}

// Trim gives the memory of what was deleted on the disk back to the machine: a bed
// that fills it makes the kernel search for pages while others are measured.
func (b *Bed) Trim() error {
	script := `sync -f "$0" && fstrim "$0"`
	if out, err := exec.Command("sh", "-c", script, b.Disk).CombinedOutput(); err != nil {
		return fmt.Errorf("trim %s: %w: %s", b.Disk, err, out)
	}
	return nil
}

// deviceOf is the name of the block device that is mounted there.
func deviceOf(dir string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", err
	}
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	return filepath.Base(link), err
}

// inside names, for the process that Enter starts, the folder of its bed.
const inside = "HOD_BENCH_INSIDE"

// Enter runs this program again as the first process of new mount, network and
// process namespaces and gives its exit code, or says, when this is that process
// already, in which folder to make the bed. When it ends, everything that was
// started in it ends, and the folder goes.
func Enter() (folder string, code int, err error) {
	if folder := os.Getenv(inside); folder != "" {
		return folder, 0, arrange()
	}
	folder, err = os.MkdirTemp("", "hod-bench-")
	if err != nil {
		return "", 1, err
	}
	defer os.RemoveAll(folder)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...) // killed, and all in it, by ctrl-C
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"="+folder)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	err = cmd.Run()
	removeGroups()
	if cmd.ProcessState != nil {
		return "", cmd.ProcessState.ExitCode(), nil
	}
	return "", 1, err
}

// arrange makes the new namespaces usable.
func arrange() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount proc: %w", err)
	}
	// crun refuses a machine that has cgroups of both versions.
	if err := unix.Unmount("/sys/fs/cgroup/unified", unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("hide cgroup v2: %w", err)
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	return nil
}

// Group is the control group that tools are asked to work below.
const Group = "hod-bench"

// removeGroups removes what they left of it; groups with processes stay.
func removeGroups() {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/" + Group)
	for _, root := range append(roots, "/sys/fs/cgroup/"+Group) {
		var dirs []string
		_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() && !strings.HasSuffix(path, ".slice.d") {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			_ = os.Remove(dirs[i])
		}
	}
}
