//go:build linux

package cgroup

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestSettings: each limit becomes a file of the old hierarchies and of the
// unified one; one that a version does not have is refused there by its name.
func TestSettings(t *testing.T) {
	n, less, u, w, yes, big := int64(5), int64(-1), uint64(7), uint16(100), true, uint32(9)
	at := specs.LinuxBlockIODevice{Major: 8, Minor: 1}
	rate := []specs.LinuxThrottleDevice{{LinuxBlockIODevice: at, Rate: 3}}
	memory := func(m specs.LinuxMemory) specs.LinuxResources { return specs.LinuxResources{Memory: &m} }
	cpu := func(c specs.LinuxCPU) specs.LinuxResources { return specs.LinuxResources{CPU: &c} }
	io := func(b specs.LinuxBlockIO) specs.LinuxResources { return specs.LinuxResources{BlockIO: &b} }
	for _, c := range []struct {
		res    specs.LinuxResources
		v1, v2 string
	}{
		{memory(specs.LinuxMemory{Limit: &n}), "memory.limit_in_bytes=5", "memory.max=5"},
		{memory(specs.LinuxMemory{Swap: &n}), "memory.memsw.limit_in_bytes=5", "memory.swap.max=5"},
		{memory(specs.LinuxMemory{Reservation: &n}), "memory.soft_limit_in_bytes=5", "memory.low=5"},
		{memory(specs.LinuxMemory{Kernel: &n}), "memory.kmem.limit_in_bytes=5", "="},
		{memory(specs.LinuxMemory{KernelTCP: &n}), "memory.kmem.tcp.limit_in_bytes=5", "="},
		{memory(specs.LinuxMemory{Swappiness: &u}), "memory.swappiness=7", "="},
		{memory(specs.LinuxMemory{DisableOOMKiller: &yes}), "memory.oom_control=1", "="},
		{memory(specs.LinuxMemory{UseHierarchy: &yes}), "memory.use_hierarchy=1", "memory.low=0"},
		{memory(specs.LinuxMemory{UseHierarchy: &yes, Reservation: &n}), "memory.use_hierarchy=1 memory.soft_limit_in_bytes=5", "memory.low=0 memory.low=5"},
		{cpu(specs.LinuxCPU{RealtimeRuntime: &less}), "cpu.rt_runtime_us=-1", "="},
		{cpu(specs.LinuxCPU{Shares: &u}), "cpu.shares=7", "cpu.weight=1"},
		{cpu(specs.LinuxCPU{Quota: &n}), "cpu.cfs_quota_us=5", "cpu.max=5 100000"},
		{cpu(specs.LinuxCPU{Period: &u}), "cpu.cfs_period_us=7", "cpu.max=max 7"},
		{cpu(specs.LinuxCPU{Burst: &u}), "cpu.cfs_burst_us=7", "cpu.max.burst=7"},
		{cpu(specs.LinuxCPU{RealtimeRuntime: &n}), "cpu.rt_runtime_us=5", "="},
		{cpu(specs.LinuxCPU{RealtimePeriod: &u}), "cpu.rt_period_us=7", "="},
		{cpu(specs.LinuxCPU{Idle: &n}), "cpu.idle=5", "cpu.idle=5"},
		{cpu(specs.LinuxCPU{Cpus: "0-1"}), "cpuset.cpus=0-1", "cpuset.cpus=0-1"},
		{cpu(specs.LinuxCPU{Mems: "0"}), "cpuset.mems=0", "cpuset.mems=0"},
		{specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &n}}, "pids.max=5", "pids.max=5"},
		{io(specs.LinuxBlockIO{Weight: &w}), "blkio.weight=100", "io.weight=default 910"},
		{io(specs.LinuxBlockIO{LeafWeight: &w}), "blkio.leaf_weight=100", "="},
		{io(specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{{LinuxBlockIODevice: at, Weight: &w}}}), "blkio.weight_device=8:1 100", "io.weight=8:1 910"},
		{io(specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{{LinuxBlockIODevice: at, LeafWeight: &w}}}), "blkio.leaf_weight_device=8:1 100", "="},
		{io(specs.LinuxBlockIO{ThrottleReadBpsDevice: rate}), "blkio.throttle.read_bps_device=8:1 3", "io.max=8:1 rbps=3"},
		{io(specs.LinuxBlockIO{ThrottleWriteBpsDevice: rate}), "blkio.throttle.write_bps_device=8:1 3", "io.max=8:1 wbps=3"},
		{io(specs.LinuxBlockIO{ThrottleReadIOPSDevice: rate}), "blkio.throttle.read_iops_device=8:1 3", "io.max=8:1 riops=3"},
		{io(specs.LinuxBlockIO{ThrottleWriteIOPSDevice: rate}), "blkio.throttle.write_iops_device=8:1 3", "io.max=8:1 wiops=3"},
		{specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4}}}, "hugetlb.2MB.limit_in_bytes=4", "hugetlb.2MB.max=4"},
		{specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: &big}}, "net_cls.classid=9", "="},
		{specs.LinuxResources{Network: &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "lo", Priority: 2}}}}, "net_prio.ifpriomap=lo 2", "="},
		{specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"mlx": {HcaHandles: &big, HcaObjects: &big}}}, "rdma.max=mlx hca_handle=9 hca_object=9", "rdma.max=mlx hca_handle=9 hca_object=9"},
		{specs.LinuxResources{Unified: map[string]string{"memory.high": "1"}}, "=", "memory.high=1"},
	} {
		var v1, v2 []string
		for _, s := range settingsOf(&c.res) {
			v1, v2 = append(v1, line(s.v1, s.v1Value)), append(v2, line(s.v2, s.v2Value))
		}
		if fmt.Sprint(v1) != "["+c.v1+"]" || fmt.Sprint(v2) != "["+c.v2+"]" {
			t.Errorf("got %v, %v; want %s, %s", v1, v2, c.v1, c.v2)
		}
		g := &Group{paths: map[string]string{}}
		if err := g.createOld(nil, "/hod", "x", settingsOf(&c.res), false); err == nil || !strings.HasPrefix(err.Error(), "set ") {
			t.Errorf("%s without any hierarchy: %v", c.v1, err)
		}
	}
}

func line(file, value string) string {
	if file == "" {
		return "="
	}
	return file + "=" + value
}
