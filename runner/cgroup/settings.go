//go:build linux

package cgroup

import (
	"fmt"
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
	return append(s, ioSettings(res.BlockIO)...)
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
		s = append(s, setting{"the io weight", "blkio", "blkio.weight", fmt.Sprint(*b.Weight), "io.weight", fmt.Sprintf("default %d", *b.Weight), false})
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
