//go:build linux && amd64

// Go's runtime keeps the files of the control group's processor limit open; they
// are not to be counted among the descriptors.
//
//go:debug containermaxprocs=0

// Probe prints what a program sees of its sandbox, as lines that do not depend
// on the machine.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sort"
	"strings"
	"syscall"
)

func main() {
	status()
	fmt.Println("uid_map", file("/proc/self/uid_map"))
	descriptors()
	env := os.Environ()
	slices.Sort(env)
	fmt.Println("env", strings.Join(env, " "))
	mounts()
	calls()
	sockets()
	ioctls()
	writes()
}

func file(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return "error"
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

func status() {
	f, _ := os.Open("/proc/self/status")
	for s := bufio.NewScanner(f); s.Scan(); {
		for _, k := range []string{"Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp:"} {
			if strings.HasPrefix(s.Text(), k) {
				fmt.Println("status", strings.Join(strings.Fields(s.Text()), " "))
			}
		}
	}
	f.Close()
}

func descriptors() {
	d, _ := os.Open("/proc/self/fd")
	names, _ := d.Readdirnames(-1)
	var open []string
	for _, n := range names {
		if to, err := os.Readlink("/proc/self/fd/" + n); err == nil && !strings.HasPrefix(to, "/proc/") && !strings.HasPrefix(to, "anon_inode:") {
			open = append(open, n)
		}
	}
	d.Close()
	sort.Strings(open)
	fmt.Println("descriptors", open)
	limit := syscall.Rlimit{}
	syscall.Getrlimit(4, &limit)
	fmt.Println("core", limit.Cur, limit.Max)
}

func mounts() {
	var list []string
	f, _ := os.Open("/proc/self/mountinfo")
	for s := bufio.NewScanner(f); s.Scan(); {
		p := strings.Fields(s.Text())
		if below := strings.HasPrefix(p[4], "/proc/") || strings.HasPrefix(p[4], "/sys/"); !below || strings.HasPrefix(p[5], "rw") && strings.Contains(s.Text(), "- proc") {
			options := strings.NewReplacer(",idmapped", "", ",relatime", "", ",noatime", "").Replace(p[5])
			list = append(list, "mount "+p[4]+" "+options)
		}
	}
	f.Close()
	slices.Sort(list)
	fmt.Println(strings.Join(list, "\n"))
	for _, p := range masked {
		list, err := os.ReadDir(p)
		text, _ := os.ReadFile(p)
		if err == nil && len(list) > 0 || len(text) > 0 {
			fmt.Println("NOT MASKED", p)
		}
	}
}

var masked = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore", "/proc/keys", "/proc/kpagecgroup",
	"/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
	"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/bpf", "/sys/fs/pstore", "/sys/fs/selinux",
	"/sys/kernel/debug", "/sys/kernel/security", "/sys/kernel/tracing",
}

// skipped end or stop the probe, start a copy of it, or (335, 336) are for the
// kernel's own trampolines.
var skipped = []uintptr{15, 34, 56, 57, 58, 60, 231, 335, 336, 435}

func calls() {
	runtime.LockOSThread()
	const any = ^uintptr(0)
	answers := map[syscall.Errno][]uintptr{}
	for nr := uintptr(0); nr < 600; nr++ {
		if slices.Contains(skipped, nr) {
			continue
		}
		_, _, e := syscall.RawSyscall6(nr, any, any, any, any, any, any)
		answers[e] = append(answers[e], nr)
	}
	fmt.Println("EPERM", answers[syscall.EPERM])
	var old []uintptr
	for _, nr := range answers[syscall.ENOSYS] {
		if nr < 335 {
			old = append(old, nr)
		}
	}
	fmt.Println("ENOSYS before 335", old)
	other := 0
	for nr := uintptr(470); nr < 600; nr++ {
		if !slices.Contains(answers[syscall.ENOSYS], nr) {
			other++
		}
	}
	fmt.Println("of 470 to 599 not ENOSYS:", other)
	wrong := 0
	for nr := uintptr(0); nr < 600; nr++ {
		if _, _, e := syscall.RawSyscall(nr|0x40000000, 0, 0, 0); e != syscall.ENOSYS {
			wrong++
		}
	}
	fmt.Println("of x32 not ENOSYS:", wrong)
}

func sockets() {
	var open []string
	for family := range 46 {
		if fd, err := syscall.Socket(family, syscall.SOCK_DGRAM, 0); err == nil {
			open = append(open, fmt.Sprint(family))
			syscall.Close(fd)
		}
	}
	for protocol := range 23 {
		if fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW, protocol); err == nil {
			open = append(open, fmt.Sprint("netlink:", protocol))
			syscall.Close(fd)
		}
	}
	_, raw := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, 1)
	fmt.Println("sockets", open, "raw", raw)
}

func ioctls() {
	for _, request := range []uintptr{0x5412, 0x1_0000_5412, 0x541c, 0x1_0000_541c} {
		_, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, 0, request, 0)
		fmt.Printf("ioctl %#x %s\n", request, e)
	}
}

func writes() {
	for _, f := range []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger", "/proc/sys/fs/binfmt_misc/register",
		"/sys/kernel/uevent_helper", "/proc/sys/vm/drop_caches", "/sys/fs/cgroup/release_agent", "/proc/1/oom_score_adj",
	} {
		h, err := os.OpenFile(f, os.O_WRONLY, 0)
		if err == nil {
			_, err = h.Write([]byte("-1001"))
			h.Close()
		}
		fmt.Println("write", f, map[bool]string{true: "refused", false: "DONE"}[err != nil])
	}
}
