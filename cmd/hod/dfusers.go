//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

// countUsers adds what the store cannot know, which containers run and which volumes
// some container has, and gives the containers.
func countUsers(ctx context.Context, s *layers.Store, u *layers.Usage) ([]runner.Entry, error) {
	cs, err := containersOf(s)
	if err != nil {
		return nil, err
	}
	list, err := cs.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		switch e.State.Status {
		case runner.StatusRunning, runner.StatusPaused, runner.StatusRestarting:
			u.Containers.Active++
		default:
			u.Containers.Reclaimable += u.Containers.Each[e.ID]
		}
	}
	users := runner.VolumeUsers(list)
	for name, bytes := range u.Volumes.Each {
		if len(users[name]) > 0 {
			u.Volumes.Active++
		} else {
			u.Volumes.Reclaimable += bytes
		}
	}
	return list, nil
}

// dfContainers is the rest of the verbose form: containers, and volumes with how many containers have each.
func dfContainers(c *cli.Context, list []runner.Entry, u layers.Usage) error {
	users := runner.VolumeUsers(list)
	var containers, volumes []row
	now := time.Now()
	for _, e := range list {
		containers = append(containers, row{
			"ID": e.ShortID(), "Image": e.Image, "LocalVolumes": strconv.Itoa(len(e.Volumes) + len(e.Anonymous)), "Size": humanSize(u.Containers.Each[e.ID]),
			"RunningFor": humanAge(now, e.Created), "Status": statusText(e.State, now), "Names": e.Name,
		})
	}
	for _, name := range slices.Sorted(maps.Keys(u.Volumes.Each)) {
		volumes = append(volumes, row{"Name": name, "Links": strconv.Itoa(len(users[name])), "Size": humanSize(u.Volumes.Each[name])})
	}
	fmt.Fprintln(c.App.Writer)
	err := printRows(c.App.Writer, "", "table {{.ID}}\t{{.Image}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}", row{
		"ID": "CONTAINER ID", "Image": "IMAGE", "LocalVolumes": "LOCAL VOLUMES", "Size": "SIZE", "RunningFor": "CREATED", "Status": "STATUS", "Names": "NAMES",
	}, containers)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer)
	return printRows(c.App.Writer, "", "table {{.Name}}\t{{.Links}}\t{{.Size}}", row{"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}, volumes)
}
