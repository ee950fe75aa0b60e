//go:build linux

package runner

import (
	"fmt"
	"math"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// defaultPids bounds the processes of a container that asked for no limit.
const defaultPids = 2048

// Asked says whether any limit was asked for, so that a machine that grants no
// control groups is an error and not a loss of defaults.
func (r Resources) Asked() bool {
	pids := r.PidsLimit > 0
	plain := r.Memory != 0 || r.MemorySwap != 0 || r.MemoryReservation != 0 || r.MemorySwappiness != nil || r.OOMKillDisable
	cpu := r.NanoCPUs != 0 || r.CPUShares != 0 || r.CPUPeriod != 0 || r.CPUQuota != 0 || r.CpusetCPUs != "" || r.CpusetMems != ""
	io := r.BlkioWeight != 0 || len(r.DeviceReadBps)+len(r.DeviceWriteBps)+len(r.DeviceReadIOps)+len(r.DeviceWriteIOps) > 0
	return pids || plain || cpu || io
}

func setResources(s *specs.Spec, _ ImageConfig, o ContainerOptions) error {
	r := o.Resources
	res := &specs.LinuxResources{}
	s.Linux.Resources = res
	if err := setMemory(res, r); err != nil {
		return err
	}
	if err := setCPU(res, r); err != nil {
		return err
	}
	pids := r.PidsLimit
	if pids == 0 {
		pids = defaultPids
	}
	res.Pids = &specs.LinuxPids{Limit: &pids}
	var err error
	if res.Devices, err = deviceRules(s, o); err != nil {
		return err
	}
	return setIO(res, r)
}

func setMemory(res *specs.LinuxResources, r Resources) error {
	if r.Memory < 0 || r.Memory > 0 && r.Memory < 6<<20 {
		return fmt.Errorf("memory limit %d: the least is 6 MiB", r.Memory)
	}
	if r.MemorySwap != 0 && r.Memory == 0 {
		return fmt.Errorf("a swap limit needs a memory limit")
	}
	if r.MemorySwap > 0 && r.MemorySwap < r.Memory {
		return fmt.Errorf("the limit of memory and swap (%d) is below the memory limit (%d)", r.MemorySwap, r.Memory)
	}
	if r.MemoryReservation > 0 && r.Memory > 0 && r.MemoryReservation > r.Memory {
		return fmt.Errorf("the memory reservation (%d) is above the memory limit (%d)", r.MemoryReservation, r.Memory)
	}
	if r.MemorySwappiness != nil && *r.MemorySwappiness > 100 {
		return fmt.Errorf("swappiness %d is above 100", *r.MemorySwappiness)
	}
	m := &specs.LinuxMemory{Swappiness: r.MemorySwappiness}
	if r.Memory != 0 {
		m.Limit = &r.Memory
	}
	if r.MemorySwap != 0 {
		m.Swap = &r.MemorySwap
	}
	if r.MemoryReservation != 0 {
		m.Reservation = &r.MemoryReservation
	}
	if r.OOMKillDisable {
		m.DisableOOMKiller = &r.OOMKillDisable
	}
	res.Memory = m
	return nil
}

func setCPU(res *specs.LinuxResources, r Resources) error {
	c := &specs.LinuxCPU{Cpus: r.CpusetCPUs, Mems: r.CpusetMems}
	if r.CPUShares != 0 {
		c.Shares = &r.CPUShares
	}
	quota, period := r.CPUQuota, r.CPUPeriod
	if r.NanoCPUs != 0 {
		if quota != 0 || period != 0 {
			return fmt.Errorf("--cpus and a cpu quota or period exclude each other")
		}
		if r.NanoCPUs < 1e7 || r.NanoCPUs > math.MaxInt64/100000 {
			return fmt.Errorf("cpus %g: the least is 0.01", float64(r.NanoCPUs)/1e9)
		}
		period = 100000
		quota = r.NanoCPUs * 100000 / 1e9
	}
	if quota != 0 {
		c.Quota = &quota
	}
	if period != 0 {
		c.Period = &period
	}
	res.CPU = c
	return nil
}

func setIO(res *specs.LinuxResources, r Resources) error {
	b := &specs.LinuxBlockIO{}
	if r.BlkioWeight != 0 {
		if r.BlkioWeight < 10 || r.BlkioWeight > 1000 {
			return fmt.Errorf("blkio weight %d is not between 10 and 1000", r.BlkioWeight)
		}
		b.Weight = &r.BlkioWeight
	}
	for _, l := range []struct {
		from []ThrottleDevice
		to   *[]specs.LinuxThrottleDevice
	}{
		{r.DeviceReadBps, &b.ThrottleReadBpsDevice}, {r.DeviceWriteBps, &b.ThrottleWriteBpsDevice},
		{r.DeviceReadIOps, &b.ThrottleReadIOPSDevice}, {r.DeviceWriteIOps, &b.ThrottleWriteIOPSDevice},
	} {
		for _, t := range l.from {
			var st unix.Stat_t
			if err := unix.Stat(t.Path, &st); err != nil {
				return fmt.Errorf("device %q: %w", t.Path, err)
			}
			d := specs.LinuxThrottleDevice{Rate: t.Rate}
			d.Major, d.Minor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
			*l.to = append(*l.to, d)
		}
	}
	if b.Weight != nil || len(b.ThrottleReadBpsDevice)+len(b.ThrottleWriteBpsDevice)+len(b.ThrottleReadIOPSDevice)+len(b.ThrottleWriteIOPSDevice) > 0 {
		res.BlockIO = b
	}
	return nil
}
