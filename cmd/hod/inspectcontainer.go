//go:build linux

package main

import (
	"context"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
)

// inspectContainer is Docker's description of a container.
func inspectContainer(ctx context.Context, s *layers.Store, name string) (map[string]any, error) {
	cs, err := containersOf(s)
	if err != nil {
		return nil, err
	}
	c, state, err := cs.Lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"Id": c.ID, "Name": "/" + c.Name, "Created": c.Created.Format(time.RFC3339Nano),
		"Path": c.Path, "Args": c.Args, "Image": c.ImageID, "RestartCount": state.Restarts,
		"State": inspectState(state), "Config": map[string]any{
			"Image": c.Image, "Hostname": c.Options.Hostname, "Labels": c.Labels(), "Env": c.Config.Env, "Cmd": c.Config.Cmd,
			"Entrypoint": c.Config.Entrypoint, "User": c.Config.User, "WorkingDir": c.Config.WorkingDir,
		},
		"HostConfig": c.Options, "Mounts": c.Volumes, "NetworkSettings": inspectNetwork(state.Network),
	}, nil
}

func inspectState(s *runner.State) map[string]any {
	v := map[string]any{
		"Status": s.Status, "Running": s.Status == runner.StatusRunning, "Paused": s.Status == runner.StatusPaused,
		"Restarting": s.Status == runner.StatusRestarting, "Dead": s.Status == runner.StatusDead, "OOMKilled": s.OOMKilled,
		"Pid": s.Pid, "ExitCode": s.ExitCode, "Error": s.Error,
		"StartedAt": s.StartedAt.Format(time.RFC3339Nano), "FinishedAt": s.FinishedAt.Format(time.RFC3339Nano),
	}
	if s.Health != nil {
		v["Health"] = s.Health
	}
	return v
}

func inspectNetwork(n *runner.NetworkState) map[string]any {
	if n == nil {
		n = &runner.NetworkState{}
	}
	return map[string]any{"Mode": n.Mode, "IPAddress": n.IPv4, "GlobalIPv6Address": n.IPv6, "Gateway": n.Gateway, "MacAddress": n.MAC, "Ports": n.Ports}
}
