//go:build linux

package sandbox

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// scheduling is what the parent asks of the kernel's schedulers for the child.
type scheduling struct {
	cpu *unix.SchedAttr
	io  int // class and priority as ioprio_set takes them, 0: the caller's
}

var schedPolicies = map[specs.LinuxSchedulerPolicy]uint32{
	specs.SchedOther: unix.SCHED_NORMAL, specs.SchedFIFO: unix.SCHED_FIFO, specs.SchedRR: unix.SCHED_RR,
	specs.SchedBatch: unix.SCHED_BATCH, specs.SchedIdle: unix.SCHED_IDLE, specs.SchedDeadline: unix.SCHED_DEADLINE,
}

var schedFlags = map[specs.LinuxSchedulerFlag]uint64{
	specs.SchedFlagResetOnFork: unix.SCHED_FLAG_RESET_ON_FORK, specs.SchedFlagReclaim: unix.SCHED_FLAG_RECLAIM,
	specs.SchedFlagDLOverrun: unix.SCHED_FLAG_DL_OVERRUN, specs.SchedFlagKeepPolicy: unix.SCHED_FLAG_KEEP_POLICY,
	specs.SchedFlagKeepParams: unix.SCHED_FLAG_KEEP_PARAMS, specs.SchedFlagUtilClampMin: unix.SCHED_FLAG_UTIL_CLAMP_MIN,
	specs.SchedFlagUtilClampMax: unix.SCHED_FLAG_UTIL_CLAMP_MAX,
}

// ioClasses are the classes of linux/ioprio.h.
var ioClasses = map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}

func schedulingOf(p *specs.Process) (out scheduling, err error) {
	if s := p.Scheduler; s != nil {
		policy, ok := schedPolicies[s.Policy]
		if !ok {
			return out, fmt.Errorf("scheduler: unknown policy %q", s.Policy)
		}
		out.cpu = &unix.SchedAttr{
			Size: unix.SizeofSchedAttr, Policy: policy, Nice: s.Nice, Priority: uint32(s.Priority),
			Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period,
		}
		for _, name := range s.Flags {
			flag, ok := schedFlags[name]
			if !ok {
				return out, fmt.Errorf("scheduler: unknown flag %q", name)
			}
			out.cpu.Flags |= flag
		}
	}
	if io := p.IOPriority; io != nil {
		class, ok := ioClasses[io.Class]
		if !ok || io.Priority < 0 || io.Priority > 7 {
			return out, fmt.Errorf("io priority: class %q, priority %d: a class of IOPRIO_CLASS_RT, BE or IDLE and 0 to 7", io.Class, io.Priority)
		}
		out.io = class<<13 | io.Priority
	}
	return out, nil
}

func (s scheduling) apply(pid int) error {
	if s.cpu != nil {
		if err := unix.SchedSetAttr(pid, s.cpu, 0); err != nil {
			return fmt.Errorf("set the scheduler: %w", err)
		}
	}
	if s.io == 0 {
		return nil
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, 1 /* IOPRIO_WHO_PROCESS */, uintptr(pid), uintptr(s.io)); errno != 0 {
		return fmt.Errorf("set the io priority: %w", errno)
	}
	return nil
}
