//go:build linux

package bundle

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// honoured are the fields of config.json that a container is made of. Every
// other field of the runtime specification is refused by its name where it is
// set, those of a later version of the specification included; what no
// specification knows is passed over, as it asks.
var honoured = strings.Fields(`
	ociVersion hostname domainname annotations
	root.path root.readonly
	mounts.destination mounts.type mounts.source mounts.options
	process.terminal process.consoleSize.height process.consoleSize.width
	process.user.uid process.user.gid process.user.umask process.user.additionalGids
	process.args process.env process.cwd process.noNewPrivileges process.apparmorProfile process.oomScoreAdj
	process.capabilities.bounding process.capabilities.effective process.capabilities.inheritable
	process.capabilities.permitted process.capabilities.ambient
	process.rlimits.type process.rlimits.hard process.rlimits.soft
	process.scheduler.policy process.scheduler.nice process.scheduler.priority process.scheduler.flags
	process.scheduler.runtime process.scheduler.deadline process.scheduler.period
	process.ioPriority.class process.ioPriority.priority
	process.execCPUAffinity.initial process.execCPUAffinity.final
	hooks.prestart.path hooks.prestart.args hooks.prestart.env hooks.prestart.timeout
	hooks.createRuntime.path hooks.createRuntime.args hooks.createRuntime.env hooks.createRuntime.timeout
	hooks.poststart.path hooks.poststart.args hooks.poststart.env hooks.poststart.timeout
	hooks.poststop.path hooks.poststop.args hooks.poststop.env hooks.poststop.timeout
	linux.uidMappings.containerID linux.uidMappings.hostID linux.uidMappings.size
	linux.gidMappings.containerID linux.gidMappings.hostID linux.gidMappings.size
	linux.sysctl linux.cgroupsPath linux.namespaces.type linux.namespaces.path
	linux.devices.path linux.devices.type linux.devices.major linux.devices.minor
	linux.devices.fileMode linux.devices.uid linux.devices.gid
	linux.rootfsPropagation linux.maskedPaths linux.readonlyPaths linux.personality.domain linux.timeOffsets
	linux.seccomp.defaultAction linux.seccomp.defaultErrnoRet linux.seccomp.architectures linux.seccomp.flags
	linux.seccomp.syscalls.names linux.seccomp.syscalls.action linux.seccomp.syscalls.errnoRet
	linux.seccomp.syscalls.args.index linux.seccomp.syscalls.args.value linux.seccomp.syscalls.args.valueTwo linux.seccomp.syscalls.args.op
	linux.resources.devices.allow linux.resources.devices.type linux.resources.devices.major
	linux.resources.devices.minor linux.resources.devices.access
	linux.resources.memory.limit linux.resources.memory.reservation linux.resources.memory.swap
	linux.resources.memory.kernel linux.resources.memory.kernelTCP linux.resources.memory.swappiness
	linux.resources.memory.disableOOMKiller linux.resources.memory.useHierarchy linux.resources.memory.checkBeforeUpdate
	linux.resources.cpu.shares linux.resources.cpu.quota linux.resources.cpu.burst linux.resources.cpu.period
	linux.resources.cpu.realtimeRuntime linux.resources.cpu.realtimePeriod
	linux.resources.cpu.cpus linux.resources.cpu.mems linux.resources.cpu.idle
	linux.resources.pids.limit
	linux.resources.blockIO.weight linux.resources.blockIO.leafWeight
	linux.resources.blockIO.weightDevice.major linux.resources.blockIO.weightDevice.minor
	linux.resources.blockIO.weightDevice.weight linux.resources.blockIO.weightDevice.leafWeight
	linux.resources.blockIO.throttleReadBpsDevice.major linux.resources.blockIO.throttleReadBpsDevice.minor linux.resources.blockIO.throttleReadBpsDevice.rate
	linux.resources.blockIO.throttleWriteBpsDevice.major linux.resources.blockIO.throttleWriteBpsDevice.minor linux.resources.blockIO.throttleWriteBpsDevice.rate
	linux.resources.blockIO.throttleReadIOPSDevice.major linux.resources.blockIO.throttleReadIOPSDevice.minor linux.resources.blockIO.throttleReadIOPSDevice.rate
	linux.resources.blockIO.throttleWriteIOPSDevice.major linux.resources.blockIO.throttleWriteIOPSDevice.minor linux.resources.blockIO.throttleWriteIOPSDevice.rate
	linux.resources.hugepageLimits.pageSize linux.resources.hugepageLimits.limit
	linux.resources.network.classID linux.resources.network.priorities.name linux.resources.network.priorities.priority
	linux.resources.rdma linux.resources.unified`)

// unhonoured lists the fields that are set and not honoured.
func unhonoured(s *specs.Spec) []string {
	var out []string
	fields(reflect.ValueOf(s).Elem(), "", func(name string) {
		if !slices.Contains(honoured, name) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	})
	return out
}

// fields calls each for the name of every field that is set, in the form that
// config.json has: linux.resources.pids.limit. Elements of lists share theirs.
func fields(v reflect.Value, name string, each func(string)) {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil() && v.Elem().Kind() == reflect.Struct:
		fields(v.Elem(), name, each)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.Anonymous {
				tag = strings.TrimPrefix(name+"."+tag, ".")
			} else {
				tag = name
			}
			fields(v.Field(i), tag, each)
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			fields(v.Index(i), name, each)
		}
	case !v.IsZero():
		each(name)
	}
}

// check refuses what would be lost without a word.
func check(s *specs.Spec) error {
	if lost := unhonoured(s); len(lost) > 0 {
		return fmt.Errorf("config.json: %s: not supported", strings.Join(lost, ", "))
	}
	for i, ns := range s.Linux.Namespaces {
		if slices.ContainsFunc(s.Linux.Namespaces[:i], func(o specs.LinuxNamespace) bool { return o.Type == ns.Type }) {
			return fmt.Errorf("config.json: linux.namespaces: %q stands twice", ns.Type)
		}
	}
	p := s.Process
	switch {
	case !strings.HasPrefix(s.Version, "1."):
		return fmt.Errorf("config.json: ociVersion %q: hod knows version 1", s.Version)
	case p == nil || len(p.Args) == 0:
		return fmt.Errorf("config.json: process.args is empty")
	case s.Root == nil || s.Root.Path == "":
		return fmt.Errorf("config.json: root.path is empty")
	case (s.Hostname != "" || s.Domainname != "") && !hasNamespace(s, specs.UTSNamespace):
		return fmt.Errorf("config.json: hostname, domainname: they would be the host's; linux.namespaces has no uts")
	case len(s.Linux.TimeOffsets) > 0 && !hasNamespace(s, specs.TimeNamespace):
		return fmt.Errorf("config.json: linux.timeOffsets: linux.namespaces has no time")
	}
	return nil
}

func hasNamespace(s *specs.Spec, kind specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(s.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == kind })
}
