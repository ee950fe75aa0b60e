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

// countUsers adds what the store cannot know: which containers run, and which
// volumes some container has.
func countUsers(ctx context.Context, s *layers.Store, u *layers.Usage) error {
	list, users, err := containersAndVolumes(ctx, s)
	if err != nil {
		return err
	}
	for _, e := range list {
		if lives(e) {
			u.Containers.Active++
		} else {
			u.Containers.Reclaimable += u.Containers.Each[e.ID]
		}
	}
	for name, bytes := range u.Volumes.Each {
		if len(users[name]) > 0 {
			u.Volumes.Active++
		} else {
			u.Volumes.Reclaimable += bytes
		}
	}
	return nil
}

func lives(e runner.Entry) bool {
	return e.State.Status == runner.StatusRunning || e.State.Status == runner.StatusPaused || e.State.Status == runner.StatusRestarting
}

func containersAndVolumes(ctx context.Context, s *layers.Store) ([]runner.Entry, map[string][]string, error) {
	cs, err := containersOf(s)
	if err != nil {
		return nil, nil, err
	}
	list, err := cs.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	users, err := cs.VolumeUsers(ctx)
	return list, users, err
}

// dfContainers is the rest of the verbose form: containers, and volumes with how many containers have each.
func dfContainers(c *cli.Context, s *layers.Store, u layers.Usage) error {
	list, users, err := containersAndVolumes(c.Context, s)
	if err != nil {
		return err
	}
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
	err = printRows(c.App.Writer, "", "table {{.ID}}\t{{.Image}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}", row{
		"ID": "CONTAINER ID", "Image": "IMAGE", "LocalVolumes": "LOCAL VOLUMES", "Size": "SIZE", "RunningFor": "CREATED", "Status": "STATUS", "Names": "NAMES",
	}, containers)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer)
	return printRows(c.App.Writer, "", "table {{.Name}}\t{{.Links}}\t{{.Size}}", row{"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}, volumes)
}
