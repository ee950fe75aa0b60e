package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

// resourceFlags are limits that may change while a container runs.
func resourceFlags() (flags []cli.Flag) {
	for _, f := range []struct{ names, usage string }{
		{"memory,m", "most memory, such as 512m or 2g"}, {"memory-swap", "most memory and swap together; -1: no limit"}, {"memory-reservation", "memory that it keeps under pressure"},
		{"cpus", "how many processors, such as 1.5"}, {"cpu-shares,c", "weight among others, 1024 by default"},
		{"cpu-period", "period of --cpu-quota"}, {"cpu-quota", "processor time in each period"}, {"cpuset-cpus", "processors to run on, such as 0-2,4"},
		{"cpuset-mems", "memory nodes to use, such as 0,1"}, {"pids-limit", "most processes; -1: no limit"}, {"blkio-weight", "weight of its reads and writes, 10 to 1000"},
	} {
		names := strings.Split(f.names, ",")
		flags = append(flags, &cli.StringFlag{Name: names[0], Aliases: names[1:], Usage: f.usage})
	}
	return flags
}

// containerFlags are those that run and create share.
func containerFlags() []cli.Flag {
	flags := append(resourceFlags(), refusedFlags()...)
	for _, f := range []struct{ names, usage string }{
		{"name", "give the container a name"}, {"workdir,w", "start in this folder of the container"}, {"user,u", "run as NAME|UID[:GROUP|GID]"},
		{"entrypoint", "replace the image's entry point"}, {"hostname,h", "name of the machine inside"}, {"domainname", "domain of the machine inside"},
		{"network,net", "private, none, host or container:NAME"}, {"ip", "address in the private network"}, {"mac-address", "hardware address"},
		{"memory-swappiness", "how gladly its memory is swapped, 0 to 100"},
		{"shm-size", "size of /dev/shm"}, {"stop-signal", "signal that asks it to stop"}, {"stop-timeout", "time between the signal and the kill"},
		{"restart", "no, always, unless-stopped or on-failure[:N]"}, {"log-driver", "json-file or none"}, {"cidfile", "write the container's ID to this file"},
		{"userns", "host: no user namespace"}, {"pid", "host or container:NAME: see their processes, without a user namespace of its own"}, {"ipc", "host, private or container:NAME: share their memory, without a user namespace of its own"}, {"uts", "host: no UTS namespace"},
		{"cgroupns", "host or private control groups"}, {"cgroup-parent", "put its control groups below this"}, {"oom-score-adj", "how soon the kernel kills it for memory, -1000 to 1000"},
		{"health-cmd", "ask for its health with this command"}, {"health-interval", "time between probes"}, {"health-timeout", "time for one probe"},
		{"health-start-period", "time in which failures do not count"}, {"health-start-interval", "time between probes in it"},
		{"health-retries", "failures that make it unhealthy"}, {"platform", "os/architecture[/variant] of the image"}, {"pull", "fetch the image: missing, always or never"},
		{"runtime", "use another OCI runtime, by name or path"},
	} {
		names := strings.Split(f.names, ",")
		flags = append(flags, &cli.StringFlag{Name: names[0], Aliases: names[1:], Usage: f.usage})
	}
	for _, f := range []struct{ names, usage string }{
		{"env,e", "set a variable; KEY alone takes it from here"}, {"env-file", "set the variables of a file"}, {"label,l", "set a label"}, {"label-file", "set the labels of a file"},
		{"volume,v", "mount [SOURCE:]TARGET[:OPTIONS]; a name is a volume"}, {"mount", "mount type=bind|volume|tmpfs|image,src=…,dst=…"}, {"tmpfs", "mount memory at TARGET[:OPTIONS]"},
		{"publish,p", "publish [[IP:]PORT:]PORT[/udp]"}, {"expose", "say that it listens on PORT[/udp]"}, {"add-host", "add a line to /etc/hosts, as NAME:IP; host-gateway is the host's address"}, {"dns", "use this resolver"},
		{"dns-search", "search names in this domain"}, {"dns-option,dns-opt", "set an option of the resolver"}, {"group-add", "join a further group"},
		{"ulimit", "limit a resource: NAME=SOFT[:HARD]"}, {"device", "give a device: HOST[:INSIDE][:rwm]"}, {"device-cgroup-rule", "allow devices: 'c 10:229 rwm' is TYPE MAJOR:MINOR ACCESS"}, {"cap-add", "give a capability"}, {"cap-drop", "take a capability"},
		{"security-opt", "seccomp=…, no-new-privileges, apparmor=…"}, {"sysctl", "set a kernel parameter of its namespaces"}, {"log-opt", "max-size=…, max-file=…"},
		{"device-read-bps", "most bytes a second, as DEVICE:RATE"}, {"device-write-bps", "most bytes a second, as DEVICE:RATE"}, {"device-read-iops", "most reads a second, as DEVICE:RATE"}, {"device-write-iops", "most writes a second, as DEVICE:RATE"},
		{"attach,a", "connect stdin, stdout or stderr"}, {"volumes-from", "NAME[:ro]: the volumes and binds of another container"},
		{"annotation", "KEY=VALUE in the runtime specification"},
	} {
		names := strings.Split(f.names, ",")
		flags = append(flags, &cli.StringSliceFlag{Name: names[0], Aliases: names[1:], Usage: f.usage})
	}
	for _, f := range []struct{ names, usage string }{
		{"interactive,i", "keep standard input open"}, {"tty,t", "give it a terminal"}, {"rm", "remove it when it ends"},
		{"read-only", "mount the root file system read-only"}, {"init", "run an init as process 1"}, {"publish-all,P", "publish every port that the image exposes"},
		{"privileged", "lift nearly every restriction"}, {"no-healthcheck", "do not probe its health"}, {"oom-kill-disable", "do not kill it for memory"}, {"quiet,q", "print nothing while the image is pulled"},
	} {
		names := strings.Split(f.names, ",")
		flags = append(flags, &cli.BoolFlag{Name: names[0], Aliases: names[1:], Usage: f.usage})
	}
	return append(flags, plainHTTP(), &cli.StringFlag{Name: "progress", Value: "auto", Usage: "of a build of a folder: auto, plain, json or quiet"})
}

// containerOptions reads the flags of run and create.
func containerOptions(c *cli.Context) (runner.ContainerOptions, error) {
	if err := checkRefused(c); err != nil {
		return runner.ContainerOptions{}, err
	}
	o := runner.ContainerOptions{
		Name: c.String("name"), Args: c.Args().Tail(), WorkingDir: c.String("workdir"), User: c.String("user"),
		GroupAdd: c.StringSlice("group-add"), Hostname: c.String("hostname"), Domainname: c.String("domainname"),
		ExtraHosts: c.StringSlice("add-host"), DNS: c.StringSlice("dns"), DNSSearch: c.StringSlice("dns-search"), DNSOptions: c.StringSlice("dns-option"),
		Terminal: c.Bool("tty"), Interactive: c.Bool("interactive"), Attach: c.StringSlice("attach"), AutoRemove: c.Bool("rm"),
		ReadOnly: c.Bool("read-only"), Init: c.Bool("init"), StopSignal: c.String("stop-signal"), Network: c.String("network"),
		IP: c.String("ip"), MAC: c.String("mac-address"), PublishAll: c.Bool("publish-all"),
		CapAdd: c.StringSlice("cap-add"), CapDrop: c.StringSlice("cap-drop"), SecurityOpt: c.StringSlice("security-opt"),
		Privileged: c.Bool("privileged"), UserNS: c.String("userns"), PIDNS: c.String("pid"), IPCNS: c.String("ipc"), UTSNS: c.String("uts"),
		CgroupNS: c.String("cgroupns"), CgroupParent: c.String("cgroup-parent"), VolumesFrom: c.StringSlice("volumes-from"), Runtime: c.String("runtime"), Platform: c.String("platform"),
	}
	if o.Terminal {
		o.ConsoleSize = windowSize()
	}
	if c.IsSet("entrypoint") {
		o.EntrypointSet = true
		if e := c.String("entrypoint"); e != "" {
			o.Entrypoint = []string{e}
		}
	}
	for _, step := range []func(*cli.Context, *runner.ContainerOptions) error{
		envOptions, labelOptions, mountOptions, portOptions, resourceOptions, memoryOptions, limitOptions, deviceOptions, lifeOptions, healthOptions, logOptions,
	} {
		if err := step(c, &o); err != nil {
			return o, err
		}
	}
	return o, nil
}

func envOptions(c *cli.Context, o *runner.ContainerOptions) error {
	for _, name := range c.StringSlice("env-file") {
		env, err := runner.ParseEnvFile(name, os.LookupEnv)
		if err != nil {
			return fmt.Errorf("read env file: %w", err)
		}
		o.Env = append(o.Env, env...)
	}
	for _, e := range c.StringSlice("env") {
		env, err := runner.ParseEnv(e, os.LookupEnv)
		if err != nil {
			return err
		}
		o.Env = append(o.Env, env...)
	}
	return nil
}

func labelOptions(c *cli.Context, o *runner.ContainerOptions) error {
	o.Labels = map[string]string{}
	for _, a := range c.StringSlice("annotation") {
		k, v, ok := strings.Cut(a, "=")
		if !ok || k == "" {
			return fmt.Errorf("invalid annotation %q: it must be KEY=VALUE", a)
		}
		if o.Annotations == nil {
			o.Annotations = map[string]string{}
		}
		o.Annotations[k] = v
	}
	nothing := func(string) (string, bool) { return "", true }
	var all []string
	for _, name := range c.StringSlice("label-file") {
		list, err := runner.ParseEnvFile(name, nothing)
		if err != nil {
			return fmt.Errorf("read label file: %w", err)
		}
		all = append(all, list...)
	}
	for _, l := range append(all, c.StringSlice("label")...) {
		k, v, _ := strings.Cut(l, "=")
		if k == "" {
			return fmt.Errorf("invalid label %q", l)
		}
		o.Labels[k] = v
	}
	return nil
}

func mountOptions(c *cli.Context, o *runner.ContainerOptions) error {
	for _, kind := range []struct {
		flag  string
		parse func(string) (runner.MountSpec, error)
	}{{"volume", runner.ParseVolume}, {"mount", runner.ParseMount}, {"tmpfs", runner.ParseTmpfs}} {
		all := c.StringSlice(kind.flag)
		for i, s := range all {
			if slices.Contains(all[:i], s) {
				continue // said twice is once, as docker has it
			}
			m, err := kind.parse(s)
			if err != nil {
				return err
			}
			o.Mounts = append(o.Mounts, m)
		}
	}
	// A mount inside of another one comes after it.
	slices.SortStableFunc(o.Mounts, func(a, b runner.MountSpec) int {
		return strings.Count(a.Target, "/") - strings.Count(b.Target, "/")
	})
	return nil
}

func portOptions(c *cli.Context, o *runner.ContainerOptions) error {
	for _, s := range c.StringSlice("publish") {
		p, err := runner.ParsePort(s)
		if err != nil {
			return err
		}
		o.Ports = append(o.Ports, p...)
	}
	for _, s := range c.StringSlice("expose") {
		p, err := runner.ParseExpose(s)
		if err != nil {
			return err
		}
		o.Expose = append(o.Expose, p...)
	}
	return nil
}

func resourceOptions(c *cli.Context, o *runner.ContainerOptions) error {
	r := &o.Resources
	var errs []error
	size := func(flag string, to *int64) {
		if s := c.String(flag); s == "-1" && flag == "memory-swap" {
			*to = -1
		} else if s != "" {
			n, err := runner.ParseBytes(s)
			*to = n
			errs = append(errs, wrapFlag(flag, err))
		}
	}
	size("memory", &r.Memory)
	size("memory-swap", &r.MemorySwap)
	size("memory-reservation", &r.MemoryReservation)
	size("shm-size", &o.ShmSize)
	number := func(flag string, least, most int64, set func(int64)) {
		if s := c.String(flag); s != "" {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil || n < least || n > most {
				errs = append(errs, fmt.Errorf("--%s %q: it must be a number from %d to %d", flag, s, least, most))
				return
			}
			set(n)
		}
	}
	const big = 1 << 40
	number("cpu-shares", 0, 262144, func(n int64) { r.CPUShares = uint64(n) })
	number("cpu-period", 1000, 1000000, func(n int64) { r.CPUPeriod = uint64(n) })
	number("cpu-quota", -1, big, func(n int64) { r.CPUQuota = n })
	number("pids-limit", -1, 4194304, func(n int64) {
		if r.PidsLimit = n; n == 0 { // none, as docker has it
			r.PidsLimit = -1
		}
	})
	number("blkio-weight", 0, 1000, func(n int64) { r.BlkioWeight = uint16(n) })
	number("memory-swappiness", 0, 100, func(n int64) { u := uint64(n); r.MemorySwappiness = &u })
	number("oom-score-adj", -1000, 1000, func(n int64) { i := int(n); o.OOMAdj = &i })
	r.CpusetCPUs, r.CpusetMems, r.OOMKillDisable = c.String("cpuset-cpus"), c.String("cpuset-mems"), c.Bool("oom-kill-disable")
	if s := c.String("cpus"); s != "" {
		n, err := strconv.ParseFloat(s, 64)
		if most := float64(runtime.NumCPU()); err != nil || n < 0.01 || n > most {
			errs = append(errs, fmt.Errorf("--cpus %q: it must be a number from 0.01 to %g, which this machine has", s, most))
		}
		r.NanoCPUs = int64(n*1e9 + 0.5)
	}
	return errors.Join(errs...)
}

// memoryOptions checks what the limits of memory say together.
func memoryOptions(_ *cli.Context, o *runner.ContainerOptions) error {
	r := o.Resources
	if r.Memory != 0 && r.Memory < 6<<20 {
		return errors.New("--memory: the least limit is 6m")
	}
	if r.MemorySwap > 0 && (r.Memory == 0 || r.MemorySwap < r.Memory) {
		return errors.New("--memory-swap: it limits memory and swap together, so it needs --memory and must not be less")
	}
	return nil
}

func wrapFlag(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("--%s: %w", flag, err)
}

func limitOptions(c *cli.Context, o *runner.ContainerOptions) error {
	for _, s := range c.StringSlice("ulimit") {
		u, err := runner.ParseUlimit(s)
		if err != nil {
			return err
		}
		o.Ulimits = append(o.Ulimits, u)
	}
	for _, s := range c.StringSlice("sysctl") {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return fmt.Errorf("invalid sysctl %q: it must be KEY=VALUE", s)
		}
		if o.Sysctls == nil {
			o.Sysctls = map[string]string{}
		}
		o.Sysctls[k] = v
	}
	return nil
}

func deviceOptions(c *cli.Context, o *runner.ContainerOptions) error {
	for _, s := range c.StringSlice("device") {
		d, err := runner.ParseDevice(s)
		if err != nil {
			return err
		}
		o.Devices = append(o.Devices, d)
	}
	o.DeviceRules = c.StringSlice("device-cgroup-rule")
	r := &o.Resources
	for flag, to := range map[string]*[]runner.ThrottleDevice{
		"device-read-bps": &r.DeviceReadBps, "device-write-bps": &r.DeviceWriteBps,
		"device-read-iops": &r.DeviceReadIOps, "device-write-iops": &r.DeviceWriteIOps,
	} {
		for _, s := range c.StringSlice(flag) {
			path, rate, _ := strings.Cut(s, ":")
			n, err := runner.ParseBytes(rate)
			if err != nil || !strings.HasPrefix(path, "/") {
				return fmt.Errorf("--%s %q: it must be DEVICE:RATE", flag, s)
			}
			*to = append(*to, runner.ThrottleDevice{Path: path, Rate: uint64(n)})
		}
	}
	return nil
}

func lifeOptions(c *cli.Context, o *runner.ContainerOptions) (err error) {
	if o.Restart, err = runner.ParseRestart(c.String("restart")); err != nil {
		return err
	}
	if s := c.String("stop-timeout"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("--stop-timeout %q: it must be a number of seconds", s)
		}
		o.StopTimeout = &n
	}
	return nil
}

func healthOptions(c *cli.Context, o *runner.ContainerOptions) error {
	if c.Bool("no-healthcheck") {
		if i := slices.IndexFunc(c.FlagNames(), func(n string) bool { return strings.HasPrefix(n, "health-") }); i >= 0 {
			return fmt.Errorf("conflicting options: --no-healthcheck and --%s", c.FlagNames()[i])
		}
		o.Health = &runner.Healthcheck{Test: []string{"NONE"}}
		return nil
	}
	h, set := runner.Healthcheck{}, false
	if s := c.String("health-cmd"); s != "" {
		h.Test, set = []string{"CMD-SHELL", s}, true
		if json.Valid([]byte(s)) && s[0] == '[' {
			var words []string
			if err := json.Unmarshal([]byte(s), &words); err == nil {
				h.Test = append([]string{"CMD"}, words...)
			}
		}
	}
	for flag, to := range map[string]*time.Duration{
		"health-interval": &h.Interval, "health-timeout": &h.Timeout, "health-start-period": &h.StartPeriod, "health-start-interval": &h.StartInterval,
	} {
		if s := c.String(flag); s != "" {
			d, err := time.ParseDuration(s)
			if err != nil || d < 0 || d > 0 && d < time.Millisecond {
				return fmt.Errorf("--%s %q: it must be a duration such as 30s, at least 1ms", flag, s)
			}
			*to, set = d, true
		}
	}
	if s := c.String("health-retries"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return fmt.Errorf("--health-retries %q: it must be a number", s)
		}
		h.Retries, set = n, true
	}
	if set {
		o.Health = &h
	}
	return nil
}

func logOptions(c *cli.Context, o *runner.ContainerOptions) error {
	switch o.LogDriver = c.String("log-driver"); o.LogDriver {
	case "", "json-file", "local", "none":
	default:
		return fmt.Errorf("log driver %q: hod keeps logs in files; it is json-file or none", o.LogDriver)
	}
	for _, s := range c.StringSlice("log-opt") {
		key, value, _ := strings.Cut(s, "=")
		switch key {
		case "max-size":
			n, err := runner.ParseBytes(value)
			if err != nil {
				return fmt.Errorf("--log-opt %s: %w", s, err)
			}
			o.LogMaxSize = n
		case "max-file":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > 1000 {
				return fmt.Errorf("--log-opt %s: it must be a number from 1 to 1000", s)
			}
			o.LogMaxFile = n
		default:
			return fmt.Errorf("--log-opt %s: unknown option; it is max-size or max-file", s)
		}
	}
	return nil
}
