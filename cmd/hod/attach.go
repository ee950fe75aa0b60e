//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

func attachCommand() *cli.Command {
	return &cli.Command{
		Name: "attach", Usage: "Connect to a running container's streams", ArgsUsage: "CONTAINER", Action: attach,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "no-stdin", Usage: "leave standard input alone"},
			&cli.BoolFlag{Name: "sig-proxy", Value: true, Usage: "pass signals on to it"},
			detachKeysFlag(),
		},
	}
}

func attach(c *cli.Context) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	return withContainers(c, func(cs *runner.Containers) error {
		found, state, err := cs.Lookup(c.Context, c.Args().First())
		if err != nil {
			return err
		}
		switch state.Status {
		case runner.StatusRunning, runner.StatusRestarting:
		case runner.StatusPaused:
			return fmt.Errorf("container %s is paused: unpause it before attaching", found.Name)
		default:
			return fmt.Errorf("container %s is not running: start it before attaching", found.Name)
		}
		conn, err := cs.Dial(found)
		if err != nil {
			return err
		}
		return session(c, cs, conn, found, found.Options.Interactive && !c.Bool("no-stdin"))
	})
}

// session carries this process's streams until the container ends, with whose
// code hod exits, or until the detach keys are typed.
func session(c *cli.Context, cs *runner.Containers, conn net.Conn, made *runner.Container, stdin bool) error {
	keys, err := runner.ParseDetachKeys(c.String("detach-keys"))
	if err != nil {
		return err
	}
	o := runner.SessionOptions{Stdout: os.Stdout, Stderr: os.Stderr}
	if stdin {
		o.Stdin = os.Stdin
	}
	if made.Options.Terminal {
		o.DetachKeys, o.Raw = keys, stdin && hasTermios(os.Stdin)
		restore, err := rawTerminal(stdin)
		if err != nil {
			return err
		}
		defer restore()
		sizes, stop := windowSizes()
		defer stop()
		o.Sizes = sizes
	}
	if c.Bool("sig-proxy") {
		signals := make(chan os.Signal, 64)
		signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
		defer signal.Stop(signals)
		o.Signals, o.Signal = signals, func(sig unix.Signal) {
			_ = cs.Signal(made, sig) // one that has ended hears nothing
		}
	}
	code, err := runner.Session(context.WithoutCancel(c.Context), conn, o)
	if errors.Is(err, runner.ErrDetached) {
		return nil
	}
	if errors.Is(err, runner.ErrHungUp) {
		return exit(128 + int(unix.SIGHUP))
	}
	if err != nil {
		return err
	}
	return exit(code)
}

func startCommand() *cli.Command {
	return &cli.Command{
		Name: "start", Usage: "Start stopped containers", ArgsUsage: "CONTAINER…", Action: start,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "attach", Aliases: []string{"a"}, Usage: "connect to its output"},
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "connect to its input"},
			&cli.BoolFlag{Name: "sig-proxy", Value: true, Usage: "pass signals on to it"},
			detachKeysFlag(),
		},
	}
}

func start(c *cli.Context) error {
	attached := c.Bool("attach") || c.Bool("interactive")
	if err := arguments(c, 1, -1); err != nil {
		return err
	}
	if attached && c.NArg() > 1 {
		return errors.New("you cannot start and attach several containers at once")
	}
	return withStore(c, func(s *layers.Store) error {
		cs, err := containersOf(s)
		if err != nil {
			return err
		}
		if err := enterForStart(c, cs); err != nil {
			return err
		}
		var failed error
		for _, name := range c.Args().Slice() {
			found, _, err := cs.Lookup(c.Context, name)
			if err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			conn, err := cs.Start(c.Context, found.ID, runner.StartOptions{Root: s.Root(), Attach: attached})
			switch {
			case err != nil:
				failed = errors.Join(failed, failedStart(err))
			case attached:
				return session(c, cs, conn, found, c.Bool("interactive") && found.Options.Interactive)
			default:
				fmt.Fprintln(c.App.Writer, name)
			}
		}
		return failed
	})
}

func restartCommand() *cli.Command {
	return &cli.Command{
		Name: "restart", Usage: "Stop containers and start them again", ArgsUsage: "CONTAINER…",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "time", Aliases: []string{"t", "timeout"}, Usage: "seconds before it is killed"},
			&cli.StringFlag{Name: "signal", Aliases: []string{"s"}, Usage: "signal to send"},
		},
		Action: func(c *cli.Context) error {
			return withStore(c, func(s *layers.Store) error {
				if cs, err := containersOf(s); err != nil {
					return err
				} else if err := enterForStart(c, cs); err != nil {
					return err
				}
				return each(func(c *cli.Context, cs *runner.Containers, name string) (string, error) {
					timeout, sig, err := stopOptions(c)
					if err != nil {
						return "", err
					}
					return name, cs.Restart(c.Context, name, timeout, sig, runner.StartOptions{Root: s.Root()})
				})(c)
			})
		},
	}
}

// monitorCommand is the hidden verb that a monitor process runs.
func monitorCommand() *cli.Command {
	return &cli.Command{
		Name: runner.MonitorCommand, Hidden: true,
		Action: func(c *cli.Context) error {
			// Handled and not ignored, which the container's program would inherit.
			signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGPIPE)
			return withStore(c, func(s *layers.Store) error {
				cs, err := containersOf(s)
				if err != nil {
					return err
				}
				return cs.Monitor(context.WithoutCancel(c.Context), runner.NewLauncher(s), c.Args().First(), hint)
			})
		},
	}
}
