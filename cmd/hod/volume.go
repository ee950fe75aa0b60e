//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

func volumeCommand() *cli.Command {
	return &cli.Command{Name: "volume", Usage: "Make, list and remove volumes", Subcommands: []*cli.Command{
		{Name: "create", Usage: "Make a volume", ArgsUsage: "[NAME]", Action: volumeCreate, Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "label", Usage: "KEY=VALUE"},
			&cli.StringFlag{Name: "driver", Aliases: []string{"d"}, Value: "local", Usage: "local: volumes are folders of the store"},
			&cli.StringSliceFlag{Name: "opt", Aliases: []string{"o"}, Usage: "type=TYPE, device=DEVICE and o=OPTIONS of a mount: tmpfs; none with o=bind; others as root"},
		}},
		{Name: "ls", Aliases: []string{"list"}, Usage: "List volumes", Action: volumeList, Flags: []cli.Flag{
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only names"},
			&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"}, Usage: "list only these: name=PART, label=KEY[=VALUE], dangling=BOOL, driver=local"},
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
			&cli.StringSliceFlag{Name: "filter", Usage: "only what fits: label=KEY[=VALUE], label!=KEY[=VALUE], all=BOOL"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "accepted as Docker has it: hod does not ask"},
		}},
	}}
}

func volumeCreate(c *cli.Context) error {
	if err := arguments(c, 0, 1); err != nil {
		return err
	}
	if d := c.String("driver"); d != "local" {
		return withHint(fmt.Errorf("driver %q: volumes are of this machine, the driver is local", d), "use --opt type=…, device=… and o=… for what the kernel mounts, or mount it on the host, and hod run -v FOLDER:TARGET")
	}
	o := runner.VolumeOptions{Labels: map[string]string{}, Options: map[string]string{}}
	for flag, to := range map[string]map[string]string{"label": o.Labels, "opt": o.Options} {
		for _, l := range c.StringSlice(flag) {
			k, v, _ := strings.Cut(l, "=")
			to[k] = v
		}
	}
	return withContainers(c, func(cs *runner.Containers) error {
		v, err := cs.Volumes().Create(c.Args().First(), o)
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
		keep, err := volumeFilter(c, cs)
		if err != nil {
			return err
		}
		rows := []row{}
		for _, v := range list {
			if !keep(v) {
				continue
			}
			rows = append(rows, row{"Driver": v.Driver, "Name": v.Name, "Scope": v.Scope, "Mountpoint": v.Mountpoint, "Labels": labelsText(v.Labels),
				"Links": "N/A", "Size": "N/A", "Status": "N/A", "Group": "N/A", "Availability": "N/A"}.addLabels(v.Labels))
		}
		format := c.String("format")
		if c.Bool("quiet") && format == "" {
			format = "{{.Name}}"
		}
		return printRows(c.App.Writer, format, "table {{.Driver}}\t{{.Name}}", row{
			"Driver": "DRIVER", "Name": "VOLUME NAME", "Scope": "SCOPE", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS", "Links": "LINKS", "Size": "SIZE", "Status": "STATUS", "Group": "GROUP", "Availability": "AVAILABILITY",
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

// inspectVolume is inspect's answer for a volume.
func inspectVolume(s *layers.Store, name string) (any, error) {
	cs, err := containersOf(s)
	if err != nil {
		return nil, err
	}
	return cs.Volumes().Inspect(name)
}

func volumePrune(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	return withContainers(c, func(cs *runner.Containers) error {
		all, keep, err := c.Bool("all"), func(*runner.Volume) bool { return true }, error(nil)
		for _, f := range c.StringSlice("filter") {
			if f == "all=1" || f == "all=true" {
				all = true
			} else if keep, err = pruneFilter(keep, f); err != nil {
				return err
			}
		}
		gone, err := cs.PruneVolumes(c.Context, func(v *runner.Volume) bool { return (all || v.Anonymous) && keep(v) })
		for _, name := range gone {
			fmt.Fprintln(c.App.Writer, name)
		}
		return err
	})
}

func pruneFilter(also func(*runner.Volume) bool, f string) (func(*runner.Volume) bool, error) {
	key, value, _ := strings.Cut(f, "=")
	if key != "label" && key != "label!" {
		return nil, withHint(fmt.Errorf("filter %q is not known here", f), "there are label=, label!= and all=1")
	}
	fits := labelFilter(value, key == "label")
	return func(v *runner.Volume) bool { return also(v) && fits(v.Labels) }, nil
}

// volumeFilter is what --filter of volume ls lets through.
func volumeFilter(c *cli.Context, cs *runner.Containers) (func(*runner.Volume) bool, error) {
	users, err := cs.VolumeUsers(c.Context)
	if err != nil {
		return nil, err
	}
	var all []func(*runner.Volume) bool
	for _, f := range c.StringSlice("filter") {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "name":
			all = append(all, func(v *runner.Volume) bool { return strings.Contains(v.Name, value) })
		case "driver":
			all = append(all, func(v *runner.Volume) bool { return v.Driver == value })
		case "label":
			fits := labelFilter(value, true)
			all = append(all, func(v *runner.Volume) bool { return fits(v.Labels) })
		case "dangling":
			want, err := strconv.ParseBool(value)
			if err != nil {
				return nil, fmt.Errorf("filter %q: it must be true or false", f)
			}
			all = append(all, func(v *runner.Volume) bool { return (len(users[v.Name]) == 0) == want })
		default:
			return nil, withHint(fmt.Errorf("filter %q is not known here", f), "there are name=, label=, dangling= and driver=")
		}
	}
	return func(v *runner.Volume) bool {
		for _, fits := range all {
			if !fits(v) {
				return false
			}
		}
		return true
	}, nil
}
