//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

func volumeCommand() *cli.Command {
	return &cli.Command{Name: "volume", Usage: "Make, list and remove volumes", Subcommands: []*cli.Command{
		{Name: "create", Usage: "Make a volume", ArgsUsage: "[NAME]", Action: volumeCreate, Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "label", Usage: "set a label"},
		}},
		{Name: "ls", Aliases: []string{"list"}, Usage: "List volumes", Action: volumeList, Flags: []cli.Flag{
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only names"},
			&cli.StringFlag{Name: "format", Usage: "print with a Go template, or table, or json"},
		}},
		{Name: "inspect", Usage: "Show volumes", ArgsUsage: "NAME…", Action: volumeInspect, Flags: []cli.Flag{formatFlag()}},
		{Name: "rm", Aliases: []string{"remove"}, Usage: "Remove volumes", ArgsUsage: "NAME…", Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "none there is no error"},
		}, Action: each(func(c *cli.Context, cs *runner.Containers, name string) (string, error) {
			return name, cs.RemoveVolume(c.Context, name, c.Bool("force"))
		})},
		{Name: "prune", Usage: "Remove the anonymous volumes that no container uses", Action: volumePrune, Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "also those with a name"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "accepted as Docker has it: hod does not ask"},
		}},
	}}
}

func volumeCreate(c *cli.Context) error {
	if err := arguments(c, 0, 1); err != nil {
		return err
	}
	labels := map[string]string{}
	for _, l := range c.StringSlice("label") {
		k, v, _ := strings.Cut(l, "=")
		labels[k] = v
	}
	return withContainers(c, func(cs *runner.Containers) error {
		v, err := cs.Volumes().Create(c.Args().First(), labels)
		if err == nil {
			fmt.Fprintln(c.App.Writer, v.Name)
		}
		return err
	})
}

func volumeList(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	return withContainers(c, func(cs *runner.Containers) error {
		list, err := cs.Volumes().List()
		if err != nil {
			return err
		}
		rows := []row{}
		for _, v := range list {
			rows = append(rows, row{"Driver": v.Driver, "Name": v.Name, "Scope": v.Scope, "Mountpoint": v.Mountpoint, "Labels": labelsText(v.Labels)})
		}
		format := c.String("format")
		if c.Bool("quiet") && format == "" {
			format = "{{.Name}}"
		}
		return printRows(c.App.Writer, format, "table {{.Driver}}\t{{.Name}}", row{
			"Driver": "DRIVER", "Name": "VOLUME NAME", "Scope": "SCOPE", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS",
		}, rows)
	})
}

func volumeInspect(c *cli.Context) error {
	if err := arguments(c, 1, -1); err != nil {
		return err
	}
	return withContainers(c, func(cs *runner.Containers) error {
		found, failed := []any{}, error(nil)
		for _, name := range c.Args().Slice() {
			v, err := cs.Volumes().Inspect(name)
			if err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			found = append(found, v)
		}
		return errors.Join(printInspected(c, found), failed)
	})
}

func volumePrune(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	return withContainers(c, func(cs *runner.Containers) error {
		gone, err := cs.PruneVolumes(c.Context, c.Bool("all"))
		for _, name := range gone {
			fmt.Fprintln(c.App.Writer, name)
		}
		return err
	})
}
