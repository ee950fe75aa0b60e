// Command hod builds, carries and runs OCI images, with no daemon.
//
// Each verb is a file: flags into the Options of one door (builder, layers,
// registry, runner), one call, print. This frame gives them what they share:
// arguments in any order (args.go), the table of verbs (commands.go), help
// (help.go), errors and exit codes (errors.go), templates and tables
// (format.go), and the store (store.go).
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/hodbuild/hod/cmd/hod/prefault"
	"github.com/urfave/cli/v2"
)

func main() {
	reexecuted()
	// Never stopped: Go takes each signal back by way of another thread.
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := 0
	if args, ok := asRuntime(os.Args[0], os.Args[1:]); ok {
		code = runRuntime(ctx, args, os.Stdout, os.Stderr)
	} else {
		code = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	os.Exit(code)
}

// run is hod without the process around it: it gives the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := newApp(stdout, stderr)
	debug := false
	line, err := parseLine(app, args)
	if err == nil && line.help {
		err = printHelp(stdout, app, line)
	} else if err == nil {
		app.Before = func(c *cli.Context) error {
			debug = c.Bool("debug")
			boundMemory(line.verb)
			return nil
		}
		err = profiled(func() error { return app.RunContext(ctx, line.args) })
	}
	if debug {
		unravel(stderr, err)
	}
	return report(stderr, line.verb, err)
}

// newApp is hod as urfave/cli wants it; parseLine adds the verb that is called.
// Help, suggestions and exits are ours, so what it has of them is turned off.
func newApp(stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:                      "hod",
		HideHelp:                  true,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		Writer:                    stdout,
		ErrWriter:                 stderr,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              usageError,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "root", EnvVars: []string{"HOD_ROOT"}, Usage: "keep everything in this folder (HOD_ROOT)"},
			&cli.BoolFlag{Name: "debug", Aliases: []string{"D"}, Usage: "print errors with all that is known"},
		},
	}
}

// quiet turns off what urfave/cli does by itself for a command and below.
func quiet(c *cli.Command) *cli.Command {
	c.HideHelp = true
	c.OnUsageError = usageError
	for _, sub := range c.Subcommands {
		quiet(sub)
	}
	return c
}

func usageError(_ *cli.Context, err error, _ bool) error {
	return &hintError{err: err, hint: "hod help lists every verb and its flags"}
}

// errUsage marks an error in what was typed.
var errUsage = errors.New("usage")
