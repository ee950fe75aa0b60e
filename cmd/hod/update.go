//go:build linux

package main

import (
	"errors"
	"fmt"

	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

func updateCommand() *cli.Command {
	flags := resourceFlags()
	for _, name := range []string{"cpu-rt-period", "cpu-rt-runtime", "kernel-memory"} {
		flags = append(flags, refusedFlag(name))
	}
	flags = append(flags, &cli.StringFlag{Name: "restart", Usage: "no, always, unless-stopped or on-failure[:N]"})
	return &cli.Command{
		Name: "update", Usage: "Change the limits and the restart policy of containers", ArgsUsage: "CONTAINER…", Flags: flags, Action: update,
	}
}

func update(c *cli.Context) error {
	if err := checkRefused(c); err != nil {
		return err
	}
	var o runner.ContainerOptions
	if err := resourceOptions(c, &o); err != nil {
		return err
	}
	u := runner.ContainerUpdate{Resources: o.Resources}
	if c.IsSet("restart") {
		p, err := runner.ParseRestart(c.String("restart"))
		if err != nil {
			return err
		}
		u.Restart = &p
	}
	if c.NumFlags() == 0 {
		return withHint(errors.New("you must provide one or more flags when using this command"), "hod help update lists them")
	}
	return each(func(c *cli.Context, cs *runner.Containers, name string) (string, error) {
		if err := cs.Update(c.Context, name, u); err != nil {
			return "", fmt.Errorf("update container %s: %w", name, err)
		}
		return name, nil
	})(c)
}
