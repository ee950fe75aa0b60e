//go:build linux

package runner

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/hodbuild/hod/runner/sandbox"
)

// defaultCaps are the capabilities of a container; a RUN of a build has
// buildCaps beside them.
var (
	defaultCaps = []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
		"CAP_NET_BIND_SERVICE",
	}
	buildCaps = []string{"CAP_SETFCAP", "CAP_SETPCAP", "CAP_SYS_CHROOT"}
)

// maskedPaths and readonlyPaths are the union of what the field's runtimes
// hide, and what leaks the host's kernel addresses, pages and traces.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore", "/proc/keys",
		"/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/proc/tty/driver", "/sys/devices/virtual/powercap",
		"/sys/firmware", "/sys/fs/bpf", "/sys/fs/pstore", "/sys/fs/selinux", "/sys/kernel/debug",
		"/sys/kernel/security", "/sys/kernel/tracing",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// Spec makes the OCI runtime specification of a container from its image's
// configuration and its options. It reads nothing of the root: SetUser adds
// what the image's own files say about the user.
func Spec(cfg ImageConfig, o ContainerOptions) (*specs.Spec, error) {
	s := &specs.Spec{
		Version:    specs.Version,
		Hostname:   o.Hostname,
		Domainname: o.Domainname,
		Root:       &specs.Root{Path: "rootfs", Readonly: o.ReadOnly},
		Process:    &specs.Process{Terminal: o.Terminal, NoNewPrivileges: true, OOMScoreAdj: o.OOMAdj},
		Mounts:     standardMounts(o), Annotations: o.Annotations,
		Linux: &specs.Linux{
			MaskedPaths: slices.Clone(maskedPaths), ReadonlyPaths: slices.Clone(readonlyPaths), Sysctl: map[string]string{},
		},
	}
	if o.Terminal && o.ConsoleSize[0] > 0 {
		s.Process.ConsoleSize = &specs.Box{Height: uint(o.ConsoleSize[0]), Width: uint(o.ConsoleSize[1])}
	}
	steps := []func(*specs.Spec, ImageConfig, ContainerOptions) error{
		setCommand, setNamespaces, setCapabilities, setMounts, setDevices, setResources, setUlimits, setSysctls, setSecurity,
	}
	for _, step := range steps {
		if err := step(s, cfg, o); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func setCommand(s *specs.Spec, cfg ImageConfig, o ContainerOptions) error {
	entry, args := cfg.Entrypoint, cfg.Cmd
	if o.EntrypointSet {
		entry, args = o.Entrypoint, nil
	}
	if len(o.Args) > 0 {
		args = o.Args
	}
	s.Process.Args = append(slices.Clone(entry), args...)
	if len(s.Process.Args) == 0 {
		return fmt.Errorf("no command given, and the image has none")
	}
	s.Process.Env = mergeEnv(cfg.Env, o)
	s.Process.Cwd = "/"
	for _, dir := range []string{cfg.WorkingDir, o.WorkingDir} {
		if dir != "" {
			s.Process.Cwd = path.Join("/", dir)
		}
	}
	if o.WorkingDir != "" && !path.IsAbs(o.WorkingDir) {
		return fmt.Errorf("working directory %q is not absolute", o.WorkingDir)
	}
	s.Process.User.Username = cfg.User
	if o.User != "" {
		s.Process.User.Username = o.User
	}
	return nil
}

// mergeEnv lists PATH first, then the image's variables, then the options'; a
// later value of a name replaces an earlier one in its place.
func mergeEnv(image []string, o ContainerOptions) []string {
	return MergeEnv(standardEnv(o), slices.Concat(image, o.Env))
}

// MergeEnv adds variables: a later value of a name replaces an earlier one in its place.
func MergeEnv(env, more []string) []string {
	env = slices.Clone(env)
	for _, e := range more {
		name, _, _ := strings.Cut(e, "=")
		at := slices.IndexFunc(env, func(have string) bool { return strings.HasPrefix(have, name+"=") })
		if at >= 0 {
			env[at] = e
		} else {
			env = append(env, e)
		}
	}
	return env
}

func standardEnv(o ContainerOptions) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if o.Hostname != "" {
		env = append(env, "HOSTNAME="+o.Hostname)
	}
	if o.Terminal {
		env = append(env, "TERM=xterm")
	}
	return env
}

func standardMounts(o ContainerOptions) []specs.Mount {
	shm := o.ShmSize
	if shm == 0 {
		shm = 64 << 20
	}
	mount := func(target, kind string, options ...string) specs.Mount {
		return specs.Mount{Destination: target, Type: kind, Source: kind, Options: options}
	}
	sys := mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro")
	if o.Privileged {
		sys = mount("/sys", "sysfs", "nosuid", "noexec", "nodev")
	}
	return []specs.Mount{
		mount("/proc", "proc", "nosuid", "noexec", "nodev"),
		mount("/dev", "tmpfs", "nosuid", "noexec", "strictatime", "mode=755", "size=65536k"),
		mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
		mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", shm)),
		mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
		sys,
	}
}

func setNamespaces(s *specs.Spec, _ ImageConfig, o ContainerOptions) error {
	add := func(kind specs.LinuxNamespaceType, mode string) error {
		switch {
		case mode == "host":
		case strings.HasPrefix(mode, "/"):
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: kind, Path: mode})
		case mode == "" || mode == "private" || mode == "none" || mode == "bridge" || mode == "default":
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: kind})
		case strings.HasPrefix(mode, "container:"):
			return fmt.Errorf("%s namespace %q: the container is not resolved", kind, mode)
		default:
			return fmt.Errorf("unknown %s mode %q", kind, mode)
		}
		return nil
	}
	for _, n := range []struct {
		kind specs.LinuxNamespaceType
		mode string
	}{
		{specs.MountNamespace, ""}, {specs.PIDNamespace, o.PIDNS}, {specs.IPCNamespace, o.IPCNS}, {specs.UTSNamespace, o.UTSNS},
		{specs.NetworkNamespace, o.Network}, {specs.CgroupNamespace, o.CgroupNS},
	} {
		if err := add(n.kind, n.mode); err != nil {
			return err
		}
	}
	if o.UTSNS == "host" {
		s.Hostname, s.Domainname = "", ""
	}
	return nil
}

func setCapabilities(s *specs.Spec, _ ImageConfig, o ContainerOptions) error {
	all := sandbox.CapNames()
	names := slices.Clone(defaultCaps)
	if o.Privileged {
		names = sandbox.Grantable()
	}
	normal := func(n string) (string, error) {
		full := "CAP_" + strings.TrimPrefix(strings.ToUpper(n), "CAP_")
		if full != "CAP_ALL" && !slices.Contains(all, full) {
			return "", fmt.Errorf("unknown capability %q", n)
		}
		return full, nil
	}
	// ALL comes first whatever the order, so that --cap-drop ALL --cap-add X means X.
	for _, drop := range o.CapDrop {
		if n, err := normal(drop); err != nil {
			return err
		} else if n == "CAP_ALL" {
			names = nil
		}
	}
	for _, a := range o.CapAdd {
		n, err := normal(a)
		if err != nil {
			return err
		}
		if n == "CAP_ALL" {
			names = sandbox.Grantable()
		} else if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	for _, drop := range o.CapDrop {
		n, _ := normal(drop)
		names = slices.DeleteFunc(names, func(have string) bool { return have == n })
	}
	slices.Sort(names)
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
	return nil
}

// topDown is the order in which no mount hides another one: what lies higher comes first, whoever was named first.
func topDown[T any](list []T, target func(T) string) []T {
	depth := func(m T) int { return strings.Count(path.Clean(target(m)), "/") }
	return slices.SortedStableFunc(slices.Values(list), func(a, b T) int { return cmp.Compare(depth(a), depth(b)) })
}

func setMounts(s *specs.Spec, _ ImageConfig, o ContainerOptions) error {
	for _, m := range topDown(o.Mounts, func(m MountSpec) string { return m.Target }) {
		target := path.Clean(m.Target)
		if !path.IsAbs(m.Target) || target == "/" {
			return fmt.Errorf("mount target %q: not a folder below /", m.Target)
		}
		out := specs.Mount{Destination: target}
		switch m.Type {
		case "bind", "volume":
			if !path.IsAbs(m.Source) {
				return fmt.Errorf("mount at %q: source %q is not absolute", target, m.Source)
			}
			out.Type, out.Source = "bind", m.Source
			out.Options = []string{"rbind"}
			if m.NonRecur {
				out.Options = []string{"bind"}
			}
			propagation := m.Propagation
			if propagation == "" {
				propagation = "rprivate"
			}
			out.Options = append(out.Options, propagation)
		case "tmpfs":
			out.Type, out.Source, out.Options = "tmpfs", "tmpfs", tmpfsOptions(m)
		case "image":
			return fmt.Errorf("mount at %q: an image is mounted when a container starts, and is in no plan or bundle", target)
		default:
			return fmt.Errorf("mount at %q: unknown type %q", target, m.Type)
		}
		if m.ReadOnly {
			out.Options = append(out.Options, "ro")
		}
		// A mount of the user's replaces the standard one at the same place.
		s.Mounts = slices.DeleteFunc(s.Mounts, func(have specs.Mount) bool { return have.Destination == target })
		s.Mounts = append(s.Mounts, out)
	}
	return nil
}

func tmpfsOptions(m MountSpec) []string {
	options := []string{"nosuid", "nodev", "noexec"}
	if len(m.Options) > 0 {
		options = append(options, m.Options...)
	}
	if m.TmpfsSize > 0 {
		options = append(options, fmt.Sprintf("size=%d", m.TmpfsSize))
	}
	if m.TmpfsMode != 0 {
		options = append(options, fmt.Sprintf("mode=%o", m.TmpfsMode))
	} else if !slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "mode=") }) {
		options = append(options, "mode=1777")
	}
	return options
}

func setDevices(s *specs.Spec, _ ImageConfig, o ContainerOptions) error {
	for _, d := range o.Devices {
		var st unix.Stat_t
		if err := unix.Stat(d.PathOnHost, &st); err != nil {
			return fmt.Errorf("device %q: %w", d.PathOnHost, err)
		}
		kind := map[uint32]string{unix.S_IFCHR: "c", unix.S_IFBLK: "b"}[st.Mode&unix.S_IFMT]
		if kind == "" {
			return fmt.Errorf("device %q: not a device node", d.PathOnHost)
		}
		inside := d.PathInContainer
		if inside == "" {
			inside = d.PathOnHost
		}
		mode, uid, gid := os.FileMode(st.Mode&0o777), st.Uid, st.Gid
		major, minor := int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		s.Linux.Devices = append(s.Linux.Devices, specs.LinuxDevice{
			Path: path.Clean(inside), Type: kind, Major: major, Minor: minor, FileMode: &mode, UID: &uid, GID: &gid,
		})
	}
	return nil
}

func setUlimits(s *specs.Spec, _ ImageConfig, o ContainerOptions) error {
	limits := []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 0, Hard: 0}}
	var nofile unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &nofile); err == nil {
		hard := min(524288, nofile.Max)
		limits = append(limits, specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: min(1024, hard), Hard: hard})
	}
	for _, u := range o.Ulimits {
		value := func(n int64) uint64 {
			if n < 0 {
				return math.MaxUint64
			}
			return uint64(n)
		}
		kind := "RLIMIT_" + strings.ToUpper(u.Name)
		limits = slices.DeleteFunc(limits, func(have specs.POSIXRlimit) bool { return have.Type == kind })
		limits = append(limits, specs.POSIXRlimit{Type: kind, Soft: value(u.Soft), Hard: value(u.Hard)})
	}
	s.Process.Rlimits = limits
	return nil
}

// setSysctls lets every user bind low ports and send pings in a network of the
// container's own: then neither needs a capability.
func setSysctls(s *specs.Spec, _ ImageConfig, o ContainerOptions) error {
	if o.Network != "host" && !strings.HasPrefix(o.Network, "/") {
		s.Linux.Sysctl["net.ipv4.ip_unprivileged_port_start"] = "0"
		s.Linux.Sysctl["net.ipv4.ping_group_range"] = "0 65535"
	}
	for name, value := range o.Sysctls {
		net := strings.HasPrefix(name, "net.")
		ipc := slices.Contains([]string{"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"}, name) || strings.HasPrefix(name, "fs.mqueue.")
		if net && o.Network == "host" || ipc && o.IPCNS == "host" || !net && !ipc {
			return fmt.Errorf("sysctl %q belongs to the host and not to the container", name)
		}
		s.Linux.Sysctl[name] = value
	}
	return nil
}
