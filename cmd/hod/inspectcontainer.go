//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
)

// inspectContainer is Docker's description of a container, in Docker's names.
func inspectContainer(ctx context.Context, s *layers.Store, name string, sizes bool) (map[string]any, error) {
	cs, err := containersOf(s)
	if err != nil {
		return nil, err
	}
	c, state, err := cs.Lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	v := map[string]any{
		"Id": c.ID, "Name": "/" + c.Name, "Created": c.Created.Format(time.RFC3339Nano), "Path": c.Path, "Args": c.Args, "Image": c.ImageID,
		"RestartCount": state.Restarts, "Driver": "overlay", "Platform": runtime.GOOS, "State": inspectState(state),
		"Config": inspectConfig(c), "HostConfig": inspectHost(c), "Mounts": inspectMounts(cs, c), "NetworkSettings": inspectNetwork(c, state.Network),
		"LogPath": filepath.Join(c.Dir, "log.json"), "HostsPath": filepath.Join(c.Dir, "hosts"),
		"HostnamePath": filepath.Join(c.Dir, "hostname"), "ResolvConfPath": filepath.Join(c.Dir, "resolv.conf"),
	}
	if sizes {
		v["SizeRw"], v["SizeRootFs"] = containerSizes(s, c)
	}
	return v, nil
}

// containerSizes are the bytes that a container wrote, and those with its image.
func containerSizes(s *layers.Store, c *runner.Container) (written, all int64) {
	filepath.WalkDir(filepath.Join(c.Dir, "upper"), func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return nil // it may end meanwhile
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			written += info.Size()
		}
		return nil
	})
	all = written
	if img, err := s.Resolve(c.ImageID, nil); err == nil {
		if size, err := imageSize(s, img); err == nil {
			all += size
		}
	}
	return written, all
}

func inspectState(s *runner.State) map[string]any {
	v := map[string]any{
		"Health": nil, "Status": s.Status, "Running": s.Running(), "Paused": s.Status == runner.StatusPaused,
		"Restarting": s.Status == runner.StatusRestarting, "Dead": s.Status == runner.StatusDead, "OOMKilled": s.OOMKilled,
		"Pid": s.Pid, "ExitCode": s.ExitCode, "Error": s.Error,
		"StartedAt": s.StartedAt.Format(time.RFC3339Nano), "FinishedAt": s.FinishedAt.Format(time.RFC3339Nano),
	}
	if s.Health != nil {
		v["Health"] = s.Health
	}
	return v
}

func inspectConfig(c *runner.Container) map[string]any {
	o := c.Options
	entry, cmd := c.Config.Entrypoint, c.Config.Cmd
	if o.EntrypointSet {
		entry, cmd = o.Entrypoint, nil
	}
	if len(o.Args) > 0 {
		cmd = o.Args
	}
	host, exposed := cmp.Or(o.Hostname, c.ShortID()), map[string]struct{}{}
	for _, p := range exposedPorts(c) {
		exposed[p] = struct{}{}
	}
	health := c.Config.Healthcheck
	if o.Health != nil {
		health = o.Health
	}
	return map[string]any{
		"Image": c.Image, "Hostname": host, "Domainname": o.Domainname, "Labels": c.Labels(), "Env": runner.MergeEnv(c.Config.Env, o.Env),
		"Cmd": cmd, "Entrypoint": entry, "User": cmp.Or(o.User, c.Config.User), "WorkingDir": cmp.Or(o.WorkingDir, c.Config.WorkingDir),
		"Tty": o.Terminal, "OpenStdin": o.Interactive, "ExposedPorts": exposed, "Volumes": c.Config.Volumes, "Healthcheck": health,
		"StopSignal": cmp.Or(o.StopSignal, c.Config.StopSignal, "SIGTERM"), "StopTimeout": o.StopTimeout,
	}
}

func withProtocol(port string) string {
	if strings.Contains(port, "/") {
		return port
	}
	return port + "/tcp"
}

func inspectHost(c *runner.Container) map[string]any {
	o, r := c.Options, c.Options.Resources
	binds, tmpfs, bindings := []string{}, map[string]string{}, map[string][]map[string]string{}
	for _, m := range o.Mounts {
		switch m.Type {
		case "tmpfs":
			tmpfs[m.Target] = tmpfsText(m)
		case "image": // among Mounts
		default:
			mode := ""
			if m.ReadOnly {
				mode = ":ro"
			}
			binds = append(binds, m.Source+":"+m.Target+mode)
		}
	}
	for _, p := range o.Ports {
		key, port := fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol), ""
		if p.HostPort != 0 {
			port = portSpan(int(p.HostPort), max(int(p.HostLast), int(p.HostPort))-int(p.HostPort)+1)
		}
		bindings[key] = append(bindings[key], map[string]string{"HostIp": p.HostIP, "HostPort": port})
	}
	log := map[string]string{}
	if o.LogMaxSize > 0 {
		log["max-size"], log["max-file"] = fmt.Sprint(o.LogMaxSize), fmt.Sprint(max(1, o.LogMaxFile))
	}
	restart := map[string]any{"Name": cmp.Or(o.Restart.Name, "no"), "MaximumRetryCount": o.Restart.Max}
	devices := []map[string]string{}
	for _, d := range o.Devices {
		devices = append(devices, map[string]string{"PathOnHost": d.PathOnHost, "PathInContainer": d.PathInContainer, "CgroupPermissions": d.Permissions})
	}
	adjustment := 0
	if o.OOMAdj != nil {
		adjustment = *o.OOMAdj
	}
	return map[string]any{
		"Binds": binds, "Tmpfs": tmpfs, "PortBindings": bindings, "PublishAllPorts": o.PublishAll, "NetworkMode": networkMode(c), "RestartPolicy": restart,
		"LogConfig":  map[string]any{"Type": cmp.Or(o.LogDriver, "json-file"), "Config": log},
		"AutoRemove": o.AutoRemove, "VolumesFrom": o.VolumesFrom, "CapAdd": o.CapAdd, "CapDrop": o.CapDrop, "SecurityOpt": o.SecurityOpt, "Privileged": o.Privileged,
		"ReadonlyRootfs": o.ReadOnly, "Init": o.Init, "Dns": o.DNS, "DnsOptions": o.DNSOptions, "DnsSearch": o.DNSSearch, "ExtraHosts": o.ExtraHosts,
		"GroupAdd": o.GroupAdd, "IpcMode": cmp.Or(o.IPCNS, "private"), "PidMode": o.PIDNS, "UTSMode": o.UTSNS, "UsernsMode": o.UserNS, "CgroupnsMode": cmp.Or(o.CgroupNS, "private"),
		"ShmSize": cmp.Or(o.ShmSize, 64<<20), "Runtime": cmp.Or(o.Runtime, "hod"), "Memory": r.Memory, "MemorySwap": r.MemorySwap, "MemoryReservation": r.MemoryReservation,
		"MemorySwappiness": r.MemorySwappiness, "OomKillDisable": r.OOMKillDisable, "OomScoreAdj": adjustment, "NanoCpus": r.NanoCPUs, "CpuShares": r.CPUShares,
		"CpuPeriod": r.CPUPeriod, "CpuQuota": r.CPUQuota, "CpusetCpus": r.CpusetCPUs, "CpusetMems": r.CpusetMems, "PidsLimit": r.PidsLimit, "BlkioWeight": r.BlkioWeight,
		"CgroupParent": o.CgroupParent, "Devices": devices, "DeviceCgroupRules": o.DeviceRules, "Ulimits": o.Ulimits, "Sysctls": o.Sysctls, "Annotations": o.Annotations,
	}
}

func tmpfsText(m runner.MountSpec) string {
	options := slices.Clone(m.Options)
	if m.ReadOnly {
		options = append(options, "ro")
	}
	if m.TmpfsSize > 0 {
		options = append(options, fmt.Sprintf("size=%d", m.TmpfsSize))
	}
	if m.TmpfsMode > 0 {
		options = append(options, fmt.Sprintf("mode=%o", m.TmpfsMode))
	}
	return strings.Join(options, ",")
}

func inspectMounts(cs *runner.Containers, c *runner.Container) []map[string]any {
	list := []map[string]any{}
	for _, m := range c.Options.Mounts {
		v := map[string]any{
			"Type": m.Type, "Name": "", "Driver": "", "Source": m.Source, "Destination": m.Target, "Mode": "", "RW": !m.ReadOnly, "Propagation": cmp.Or(m.Propagation, "rprivate"),
		}
		if m.Type == "volume" {
			v["Name"], v["Driver"], v["Propagation"] = m.Source, "local", ""
			if found, err := cs.Volumes().Inspect(m.Source); err == nil {
				v["Source"] = found.Mountpoint
			}
		}
		list = append(list, v)
	}
	return list
}

func inspectNetwork(c *runner.Container, n *runner.NetworkState) map[string]any {
	if n == nil {
		n = &runner.NetworkState{}
	}
	address, bits := n.IPv4, 0
	if p, err := netip.ParsePrefix(n.IPv4); err == nil {
		address, bits = p.Addr().String(), p.Bits()
	}
	ports := map[string][]map[string]string{}
	if n.Mode == "private" { // one that does not run has none
		for _, p := range exposedPorts(c) {
			ports[p] = nil
		}
	}
	for _, p := range n.Ports {
		key := fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol)
		for _, ip := range hostAddresses(p) {
			ports[key] = append(ports[key], map[string]string{"HostIp": strings.Trim(ip, "[]"), "HostPort": fmt.Sprint(p.HostPort)})
		}
	}
	one := map[string]any{"IPAddress": address, "IPPrefixLen": bits, "Gateway": n.Gateway, "MacAddress": n.MAC, "GlobalIPv6Address": n.IPv6}
	v := map[string]any{"Bridge": n.Bridge, "Ports": ports, "Networks": map[string]any{networkMode(c): one}}
	for k, value := range one {
		v[k] = value
	}
	return v
}
