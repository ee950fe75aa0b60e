//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

func execCommand() *cli.Command {
	return &cli.Command{
		Name: "exec", Usage: "Run a program in a running container", ArgsUsage: "CONTAINER COMMAND [ARGUMENT…]", Action: execVerb,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "connect standard input"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give it a terminal"},
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "leave it in the background"},
			&cli.BoolFlag{Name: "privileged", Usage: "give it every capability that the container's user namespace has"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set a variable; KEY alone takes it from here"},
			&cli.StringSliceFlag{Name: "env-file", Usage: "set the variables of a file"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "run as NAME|UID[:GROUP|GID]"},
			&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "start in this folder of the container"},
			&cli.StringFlag{Name: "detach-keys", Value: "ctrl-p,ctrl-q", Usage: "keys that hang up, which ends it: nobody else keeps its terminal"},
		},
	}
}

func execVerb(c *cli.Context) error {
	if err := arguments(c, 2, -1); err != nil {
		return err
	}
	var env runner.ContainerOptions
	if err := envOptions(c, &env); err != nil {
		return err
	}
	o := runner.ExecOptions{
		Args: c.Args().Tail(), Env: env.Env, Dir: c.String("workdir"), User: c.String("user"),
		Privileged: c.Bool("privileged"), Terminal: c.Bool("tty") && !c.Bool("detach"), Detach: c.Bool("detach"), Size: windowSize(),
	}
	if o.Terminal && c.Bool("interactive") && !hasTermios(os.Stdin) {
		return errors.New("the input device is not a TTY: leave out -t")
	}
	keys, err := runner.ParseDetachKeys(c.String("detach-keys"))
	if err != nil {
		return err
	}
	f := runner.Foreground{Stdout: os.Stdout, Stderr: os.Stderr, DetachKeys: keys}
	if c.Bool("interactive") {
		f.Stdin = os.Stdin
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	f.Signals = signals
	return withContainers(c, func(cs *runner.Containers) error {
		in, err := cs.Joinable(c.Context, c.Args().First())
		if err != nil {
			return withCode(1, err)
		}
		if o.Terminal {
			restore, err := rawTerminal(c.Bool("interactive"))
			if err != nil {
				return err
			}
			defer restore()
			sizes, stop := windowSizes()
			defer stop()
			f.Sizes = sizes
		}
		code, err := in.Exec(context.WithoutCancel(c.Context), o, f)
		if errors.Is(err, runner.ErrDetached) {
			return nil
		}
		var start *runner.ExitError
		if errors.As(err, &start) {
			return withCode(start.Code, err)
		}
		if err != nil {
			return withCode(1, err)
		}
		return ended(c, code)
	})
}

func portCommand() *cli.Command {
	return &cli.Command{Name: "port", Usage: "Show where a container's ports are published", ArgsUsage: "CONTAINER [PORT[/PROTOCOL]]", Action: port}
}

func port(c *cli.Context) error {
	if err := arguments(c, 1, 2); err != nil {
		return err
	}
	return withContainers(c, func(cs *runner.Containers) error {
		found, s, err := cs.Lookup(c.Context, c.Args().First())
		if err != nil {
			return err
		}
		want := c.Args().Get(1)
		if want != "" {
			list, err := runner.ParseExpose(want)
			if err != nil {
				return err
			}
			want = list[0]
		}
		any, lines := false, []portLine(nil)
		if s.Network != nil {
			lines = portLines(s.Network.Ports, nil)
		}
		for _, l := range lines {
			switch name := fmt.Sprintf("%d/%s", l.to, l.protocol); want {
			case "":
				fmt.Fprintf(c.App.Writer, "%s -> %s:%d\n", name, l.ip, l.from)
			case name:
				any = true
				fmt.Fprintf(c.App.Writer, "%s:%d\n", l.ip, l.from)
			}
		}
		if want != "" && !any {
			return fmt.Errorf("no public port %q published for %s", want, found.Name)
		}
		return nil
	})
}
