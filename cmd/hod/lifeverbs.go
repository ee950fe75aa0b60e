//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// lifeVerbs are those that do one thing to each container named, and print its
// name: most are a line here.
func lifeVerbs() []*cli.Command {
	timeout := &cli.StringFlag{Name: "time", Aliases: []string{"t", "timeout"}, Usage: "seconds before it is killed, -1: never"}
	signal := &cli.StringFlag{Name: "signal", Aliases: []string{"s"}, Usage: "signal to send"}
	return []*cli.Command{
		{Name: "stop", Usage: "Stop containers", ArgsUsage: "CONTAINER…", Flags: []cli.Flag{timeout, signal}, Action: each(stopOne)},
		{Name: "kill", Usage: "Send a signal to containers", ArgsUsage: "CONTAINER…", Flags: []cli.Flag{signal}, Action: each(killOne)},
		{Name: "pause", Usage: "Stop all processes of containers where they are", ArgsUsage: "CONTAINER…", Action: each(func(c *cli.Context, cs *runner.Containers, name string) (string, error) {
			return name, cs.Pause(c.Context, name)
		})},
		{Name: "unpause", Usage: "Let paused containers go on", ArgsUsage: "CONTAINER…", Action: each(func(c *cli.Context, cs *runner.Containers, name string) (string, error) {
			return name, cs.Unpause(c.Context, name)
		})},
		{Name: "wait", Usage: "Wait until containers stop, and print their exit codes", ArgsUsage: "CONTAINER…", Action: each(func(c *cli.Context, cs *runner.Containers, name string) (string, error) {
			code, err := cs.Wait(c.Context, name)
			return strconv.Itoa(code), err
		})},
		{Name: "rm", Usage: "Remove containers", ArgsUsage: "CONTAINER…", Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "kill those that run; none there is no error"},
			&cli.BoolFlag{Name: "volumes", Aliases: []string{"v"}, Usage: "with the anonymous volumes"},
		}, Action: each(removeOne)},
		{Name: "rename", Usage: "Give a container another name", ArgsUsage: "CONTAINER NAME", Action: rename},
	}
}

// each calls do for every container named and goes on after an error.
func each(do func(c *cli.Context, cs *runner.Containers, name string) (string, error)) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := arguments(c, 1, -1); err != nil {
			return err
		}
		return withContainers(c, func(cs *runner.Containers) error {
			var failed error
			for _, name := range c.Args().Slice() {
				line, err := do(c, cs, name)
				failed = errors.Join(failed, err)
				if err == nil && line != "" {
					fmt.Fprintln(c.App.Writer, line)
				}
			}
			return failed
		})
	}
}

func stopOptions(c *cli.Context) (*time.Duration, unix.Signal, error) {
	var timeout *time.Duration
	if s := c.String("time"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			return nil, 0, fmt.Errorf("--time %q: it must be a number of seconds", s)
		}
		d := time.Duration(n) * time.Second
		timeout = &d
	}
	if s := c.String("signal"); s != "" {
		sig, err := runner.ParseSignal(s)
		return timeout, sig, err
	}
	return timeout, 0, nil
}

func stopOne(c *cli.Context, cs *runner.Containers, name string) (string, error) {
	timeout, sig, err := stopOptions(c)
	if err != nil {
		return "", err
	}
	return name, cs.Stop(c.Context, name, timeout, sig)
}

func killOne(c *cli.Context, cs *runner.Containers, name string) (string, error) {
	sig := unix.SIGKILL
	if s := c.String("signal"); s != "" {
		var err error
		if sig, err = runner.ParseSignal(s); err != nil {
			return "", err
		}
	}
	return name, cs.Kill(c.Context, name, sig)
}

func removeOne(c *cli.Context, cs *runner.Containers, name string) (string, error) {
	err := cs.Remove(c.Context, name, c.Bool("force"), c.Bool("volumes"))
	if errors.Is(err, runner.ErrNoContainer) && c.Bool("force") {
		return "", nil
	}
	return name, err
}

func rename(c *cli.Context) error {
	if err := arguments(c, 2, 2); err != nil {
		return err
	}
	return withContainers(c, func(cs *runner.Containers) error {
		return cs.Rename(c.Context, c.Args().Get(0), c.Args().Get(1))
	})
}
