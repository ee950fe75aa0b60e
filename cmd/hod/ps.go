//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

func psCommand() *cli.Command {
	return &cli.Command{
		Name: "ps", Usage: "List containers", Action: ps,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "also those that do not run"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only IDs"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "print long values whole"},
			&cli.BoolFlag{Name: "size", Aliases: []string{"s"}, Usage: "with the bytes that each wrote"},
			&cli.BoolFlag{Name: "latest", Aliases: []string{"l"}, Usage: "only the newest"},
			&cli.IntFlag{Name: "last", Aliases: []string{"n"}, Value: -1, Usage: "only the newest N"},
			&cli.StringFlag{Name: "format", Usage: "print with a Go template, or table, or json"},
			&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"}, Usage: "list only these: name, id, status, label, ancestor, exited, volume, health, publish, expose, network, before, since"},
		},
	}
}

func ps(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	filters, err := containerFilters(c.StringSlice("filter"))
	if err != nil {
		return err
	}
	last := c.Int("last")
	if c.Bool("latest") {
		last = 1
	}
	_, byStatus := filters["status"]
	_, byExit := filters["exited"]
	all := c.Bool("all") || last >= 0 || byStatus || byExit
	return lookAtStore(c, func(s *layers.Store) error {
		cs, err := containersOf(s)
		if err != nil {
			return err
		}
		list, err := cs.List(c.Context)
		if err != nil {
			return err
		}
		if err := filters.resolve(list); err != nil {
			return err
		}
		rows := []row{}
		for _, e := range list {
			if (all || e.State.Running() || e.State.Status == runner.StatusRestarting) && filters.match(e) {
				r := psRow(e, c.Bool("no-trunc"))
				if c.Bool("size") || strings.Contains(c.String("format"), ".Size") {
					written, all := containerSizes(s, e.Container)
					r["Size"] = fmt.Sprintf("%s (virtual %s)", humanSize(written), humanSize(all))
				}
				rows = append(rows, r)
			}
		}
		if last >= 0 {
			rows = rows[:min(last, len(rows))]
		}
		format := c.String("format")
		if c.Bool("quiet") && format == "" {
			format = "{{.ID}}"
		}
		usual := "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
		if c.Bool("size") {
			usual += "\t{{.Size}}"
		}
		return printRows(c.App.Writer, format, usual, row{
			"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "RunningFor": "CREATED", "CreatedAt": "CREATED AT", "Status": "STATUS",
			"State": "STATE", "Ports": "PORTS", "Names": "NAMES", "Labels": "LABELS", "Mounts": "MOUNTS", "Networks": "NETWORKS", "Size": "SIZE", "LocalVolumes": "LOCAL VOLUMES",
		}, rows)
	})
}

func psRow(e runner.Entry, whole bool) row {
	id, command := e.ShortID(), commandText(e.Path, e.Args)
	if whole {
		id = e.ID
	} else if r := []rune(command); len(r) > 20 {
		command = string(r[:19]) + "…"
	}
	now := time.Now()
	r := row{
		"ID": id, "Image": e.Image, "Command": strconv.Quote(command), "RunningFor": humanAge(now, e.Created),
		"CreatedAt": e.Created.Local().Format("2006-01-02 15:04:05 -0700 MST"), "Status": statusText(e.State, now), "State": string(e.State.Status), "Size": "0B", "LocalVolumes": strconv.Itoa(len(e.Volumes) + len(e.Anonymous)),
		"Ports": portsText(e), "Names": e.Name, "Labels": labelsText(e.Labels()), "Mounts": mountsText(e.Options.Mounts, whole), "Networks": networkMode(e.Container),
	}
	return r.addLabels(e.Labels())
}

// commandText quotes the arguments that have spaces.
func commandText(program string, args []string) string {
	for _, a := range args {
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		program += " " + a
	}
	return program
}

// mountsText names the sources of what is mounted; memory has none.
func mountsText(mounts []runner.MountSpec, whole bool) string {
	var out []string
	for _, m := range mounts {
		name := []rune(m.Source)
		if !whole && len(name) > 15 {
			name = append(name[:14:14], '…')
		}
		if len(name) > 0 {
			out = append(out, string(name))
		}
	}
	return strings.Join(out, ",")
}

func networkMode(c *runner.Container) string {
	switch c.Options.Network {
	case "", "default", "private":
		return "bridge"
	}
	return c.Options.Network
}

func labelsText(labels map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, ",")
}

// statusText is docker's sentence on a state.
func statusText(s *runner.State, now time.Time) string {
	up := "Up " + strings.TrimSuffix(humanAge(now, s.StartedAt), " ago")
	switch s.Status {
	case runner.StatusCreated:
		return "Created"
	case runner.StatusPaused:
		return up + " (Paused)"
	case runner.StatusRestarting:
		return fmt.Sprintf("Restarting (%d) %s", s.ExitCode, humanAge(now, s.FinishedAt))
	case runner.StatusRunning:
		if s.Health != nil && s.Health.Status == "starting" {
			return up + " (health: starting)"
		} else if s.Health != nil {
			return up + " (" + s.Health.Status + ")"
		}
		return up
	}
	if s.OOMKilled {
		return fmt.Sprintf("Exited (%d) %s (out of memory)", s.ExitCode, humanAge(now, s.FinishedAt))
	}
	return fmt.Sprintf("Exited (%d) %s", s.ExitCode, humanAge(now, s.FinishedAt))
}
