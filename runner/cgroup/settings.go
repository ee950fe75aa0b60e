//go:build linux

package cgroup

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// setting is one control file to write. An optional one comes from a default
// that no user asked for, or that an equivalent setting covers.
type setting struct {
	name, controller string
	v1, v1Value      string
	v2, v2Value      string
	optional         bool
}

func settingsOf(res *specs.LinuxResources) []setting {
	var s []setting
	s = append(s, memorySettings(res.Memory)...)
	s = append(s, cpuSettings(res.CPU)...)
	if res.Pids != nil && res.Pids.Limit != nil && *res.Pids.Limit != 0 {
		v := "max"
		if *res.Pids.Limit > 0 {
			v = strconv.FormatInt(*res.Pids.Limit, 10)
		}
		s = append(s, setting{"the pids limit", "pids", "pids.max", v, "pids.max", v, false})
	}
	s = append(s, ioSettings(res.BlockIO)...)
	return append(s, otherSettings(res)...)
}

func limit(n int64) (v1, v2 string) {
	if n < 0 {
		return "-1", "max"
	}
	return strconv.FormatInt(n, 10), strconv.FormatInt(n, 10)
}

func memorySettings(m *specs.LinuxMemory) []setting {
	if m == nil {
		return nil
	}
	var s []setting
	if m.UseHierarchy != nil && *m.UseHierarchy { // version 2 always has one: it is told what it begins with
		s = append(s, setting{"the memory hierarchy", "memory", "memory.use_hierarchy", "1", "memory.low", "0", false})
	}
	if m.Limit != nil && *m.Limit != 0 {
		v1, v2 := limit(*m.Limit)
		s = append(s, setting{"the memory limit", "memory", "memory.limit_in_bytes", v1, "memory.max", v2, false})
	}
	if m.Swap != nil && *m.Swap != 0 {
		v1, v2 := limit(*m.Swap)
		if m.Limit != nil && *m.Swap > 0 { // v1 counts both together, v2 swap alone
			v2 = strconv.FormatInt(*m.Swap-*m.Limit, 10)
		}
		s = append(s, setting{"the swap limit", "memory", "memory.memsw.limit_in_bytes", v1, "memory.swap.max", v2, false})
	}
	if m.Reservation != nil && *m.Reservation != 0 {
		v1, v2 := limit(*m.Reservation)
		s = append(s, setting{"the memory reservation", "memory", "memory.soft_limit_in_bytes", v1, "memory.low", v2, false})
	}
	for _, old := range []struct {
		name, v1 string
		limit    *int64
	}{
		//lint:ignore SA1019 a bundle may still ask for it
		{"the kernel memory limit", "memory.kmem.limit_in_bytes", m.Kernel},
		{"the kernel memory limit for TCP", "memory.kmem.tcp.limit_in_bytes", m.KernelTCP},
	} {
		if old.limit != nil && *old.limit != 0 {
			v1, _ := limit(*old.limit)
			s = append(s, setting{old.name, "memory", old.v1, v1, "", "", false})
		}
	}
	if m.Swappiness != nil {
		s = append(s, setting{"the swappiness", "memory", "memory.swappiness", fmt.Sprint(*m.Swappiness), "", "", false})
	}
	if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		s = append(s, setting{"oom-kill-disable", "memory", "memory.oom_control", "1", "", "", false})
	}
	return s
}

func cpuSettings(c *specs.LinuxCPU) []setting {
	if c == nil {
		return nil
	}
	var s []setting
	if c.Shares != nil && *c.Shares != 0 {
		weight := 1 + (*c.Shares-2)*9999/262142 // the kernel's documented conversion
		s = append(s, setting{"the cpu shares", "cpu", "cpu.shares", fmt.Sprint(*c.Shares), "cpu.weight", fmt.Sprint(weight), false})
	}
	period := uint64(100000)
	if c.Period != nil && *c.Period != 0 {
		period = *c.Period
		v2 := fmt.Sprintf("max %d", period)
		s = append(s, setting{"the cpu period", "cpu", "cpu.cfs_period_us", fmt.Sprint(period), "cpu.max", v2, false})
	}
	if c.Quota != nil && *c.Quota != 0 {
		v1, v2 := limit(*c.Quota)
		s = append(s, setting{"the cpu quota", "cpu", "cpu.cfs_quota_us", v1, "cpu.max", fmt.Sprintf("%s %d", v2, period), false})
	}
	for _, n := range []struct{ name, v1, v2, value string }{
		{"the cpu burst", "cpu.cfs_burst_us", "cpu.max.burst", number(c.Burst)},
		{"the realtime period", "cpu.rt_period_us", "", number(c.RealtimePeriod)},
		{"the realtime runtime", "cpu.rt_runtime_us", "", number(c.RealtimeRuntime)},
		{"cpu idle", "cpu.idle", "cpu.idle", number(c.Idle)},
	} {
		if n.value != "" {
			s = append(s, setting{n.name, "cpu", n.v1, n.value, n.v2, n.value, false})
		}
	}
	if c.Cpus != "" {
		s = append(s, setting{"the cpuset", "cpuset", "cpuset.cpus", c.Cpus, "cpuset.cpus", c.Cpus, false})
	}
	if c.Mems != "" {
		s = append(s, setting{"the cpuset's memory nodes", "cpuset", "cpuset.mems", c.Mems, "cpuset.mems", c.Mems, false})
	}
	return s
}

func ioSettings(b *specs.LinuxBlockIO) []setting {
	if b == nil {
		return nil
	}
	var s []setting
	if b.Weight != nil && *b.Weight != 0 {
		s = append(s, setting{"the io weight", "blkio", "blkio.weight", fmt.Sprint(*b.Weight), "io.weight", fmt.Sprintf("default %d", ioWeight(*b.Weight)), false})
	}
	if b.LeafWeight != nil && *b.LeafWeight != 0 {
		s = append(s, setting{"the io leaf weight", "blkio", "blkio.leaf_weight", fmt.Sprint(*b.LeafWeight), "", "", false})
	}
	for _, d := range b.WeightDevice {
		device := fmt.Sprintf("%d:%d", d.Major, d.Minor)
		if d.Weight != nil {
			s = append(s, setting{"the io weight of " + device, "blkio", "blkio.weight_device", fmt.Sprintf("%s %d", device, *d.Weight), "io.weight", fmt.Sprintf("%s %d", device, ioWeight(*d.Weight)), false})
		}
		if d.LeafWeight != nil {
			s = append(s, setting{"the io leaf weight of " + device, "blkio", "blkio.leaf_weight_device", fmt.Sprintf("%s %d", device, *d.LeafWeight), "", "", false})
		}
	}
	for _, t := range []struct {
		name, v1, key string
		list          []specs.LinuxThrottleDevice
	}{
		{"the read rate", "blkio.throttle.read_bps_device", "rbps", b.ThrottleReadBpsDevice},
		{"the write rate", "blkio.throttle.write_bps_device", "wbps", b.ThrottleWriteBpsDevice},
		{"the read operations", "blkio.throttle.read_iops_device", "riops", b.ThrottleReadIOPSDevice},
		{"the write operations", "blkio.throttle.write_iops_device", "wiops", b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range t.list {
			v1 := fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate)
			s = append(s, setting{t.name, "blkio", t.v1, v1, "io.max", fmt.Sprintf("%d:%d %s=%d", d.Major, d.Minor, t.key, d.Rate), false})
		}
	}
	return s
}

// ioWeight turns the old 10 to 1000 into the 1 to 10000 of version 2, as other
// runtimes do.
func ioWeight(w uint16) int { return max(1, 1+(int(w)-10)*9999/990) }

// number is a number as control files take it, empty where none is given.
func number[T int64 | uint64](n *T) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}

func otherSettings(res *specs.LinuxResources) []setting {
	var s []setting
	for _, h := range res.HugepageLimits {
		v := fmt.Sprint(h.Limit)
		s = append(s, setting{"the limit of huge pages of " + h.Pagesize, "hugetlb", "hugetlb." + h.Pagesize + ".limit_in_bytes", v, "hugetlb." + h.Pagesize + ".max", v, false})
	}
	if n := res.Network; n != nil {
		if n.ClassID != nil {
			s = append(s, setting{"the network class", "net_cls", "net_cls.classid", fmt.Sprint(*n.ClassID), "", "", false})
		}
		for _, p := range n.Priorities {
			s = append(s, setting{"the network priority", "net_prio", "net_prio.ifpriomap", fmt.Sprintf("%s %d", p.Name, p.Priority), "", "", false})
		}
	}
	for _, device := range slices.Sorted(maps.Keys(res.Rdma)) {
		line := device
		for _, l := range []struct {
			key string
			n   *uint32
		}{{"hca_handle", res.Rdma[device].HcaHandles}, {"hca_object", res.Rdma[device].HcaObjects}} {
			if l.n != nil {
				line += fmt.Sprintf(" %s=%d", l.key, *l.n)
			}
		}
		s = append(s, setting{"the limit of RDMA", "rdma", "rdma.max", line, "rdma.max", line, false})
	}
	for _, file := range slices.Sorted(maps.Keys(res.Unified)) {
		s = append(s, setting{file, "", "", "", file, res.Unified[file], false})
	}
	return s
}
