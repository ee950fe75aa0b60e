//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

// containerPruneCommand is hod container prune.
func containerPruneCommand() *cli.Command {
	return &cli.Command{
		Name: "__container-prune", Hidden: true, Usage: "Remove all containers that do not run", Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "do not ask"},
			&cli.StringSliceFlag{Name: "filter", Usage: "only what fits: until=DURATION or TIME, label=KEY[=VALUE], label!=KEY[=VALUE]"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			if !c.Bool("force") && !sure(c, "all containers that do not run") {
				return nil
			}
			return withStore(c, func(s *layers.Store) error { return pruneContainers(c, s) })
		},
	}
}

// pruneContainers removes the stopped containers that the filters let through.
func pruneContainers(c *cli.Context, s *layers.Store) error {
	var keep []func(runner.Entry) bool
	for _, f := range c.StringSlice("filter") {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "until":
			t, err := parseUntil(value, time.Now())
			if err != nil {
				return err
			}
			keep = append(keep, func(e runner.Entry) bool { return e.Created.Before(t) })
		case "label", "label!":
			fits := labelFilter(value, key == "label")
			keep = append(keep, func(e runner.Entry) bool { return fits(e.Labels()) })
		default:
			return withHint(fmt.Errorf("filter %q is not known here", f), "there are until=, label= and label!=")
		}
	}
	cs, err := containersOf(s)
	if err != nil {
		return err
	}
	list, err := cs.List(c.Context)
	if err != nil {
		return err
	}
	var failed error
	for _, e := range list {
		out := func(fits func(runner.Entry) bool) bool { return !fits(e) }
		if e.State.Running() || e.State.Status == runner.StatusRestarting || slices.ContainsFunc(keep, out) {
			continue
		}
		err := cs.Remove(c.Context, e.ID, false, false)
		if errors.Is(err, runner.ErrNoContainer) {
			continue
		}
		if failed = errors.Join(failed, err); err == nil {
			fmt.Fprintln(c.App.Writer, e.ID)
		}
	}
	return failed
}

// pruneVolumes removes the anonymous volumes that no container uses.
func pruneVolumes(c *cli.Context, s *layers.Store) error {
	cs, err := containersOf(s)
	if err != nil {
		return err
	}
	gone, err := cs.PruneVolumes(c.Context, func(v *runner.Volume) bool { return v.Anonymous })
	for _, name := range gone {
		fmt.Fprintln(c.App.Writer, name)
	}
	return err
}
