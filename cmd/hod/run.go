//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "Run a program in a new container of an image", ArgsUsage: "IMAGE [COMMAND [ARGUMENT…]]", Action: runVerb,
		Flags: append(containerFlags(),
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "run it in the background and print its ID"},
			&cli.BoolFlag{Name: "sig-proxy", Value: true, Usage: "pass signals on to it"},
			&cli.BoolFlag{Name: "show-sandbox", Usage: "print the system calls that would start it, and start nothing"},
			detachKeysFlag(),
		),
	}
}

func createCommand() *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "Make a container and do not start it", ArgsUsage: "IMAGE [COMMAND [ARGUMENT…]]", Action: createVerb, Flags: containerFlags(),
	}
}

func detachKeysFlag() cli.Flag {
	return &cli.StringFlag{Name: "detach-keys", Value: "ctrl-p,ctrl-q", Usage: "keys that leave it running"}
}

// newContainer makes the container that the flags of run and create ask for.
func newContainer(c *cli.Context, s *layers.Store, cs *runner.Containers, change func(*runner.ContainerOptions)) (*runner.Container, error) {
	if err := arguments(c, 1, -1); err != nil {
		return nil, err
	}
	o, err := containerOptions(c)
	if err != nil {
		return nil, err
	}
	if change != nil {
		change(&o)
	}
	img, name, err := imageToRun(c, s, c.Args().First())
	if err != nil {
		return nil, err
	}
	if err := mountedImages(c, s, o.Mounts); err != nil {
		return nil, err
	}
	if err := enterForContainer(c, s, cs, img, name, o); err != nil {
		return nil, err
	}
	cid, err := openCIDFile(c.String("cidfile"))
	if err != nil {
		return nil, err
	}
	made, err := cs.Create(img, name, o)
	return made, errors.Join(err, cid.finish(made))
}

// cidFile is the --cidfile: claimed before the container is made.
type cidFile struct{ f *os.File }

func openCIDFile(path string) (*cidFile, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("container ID file %q exists: make sure the other container is not running, or delete it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("make container ID file: %w", err)
	}
	return &cidFile{f}, nil
}

func (f *cidFile) finish(made *runner.Container) error {
	if f == nil {
		return nil
	}
	if made == nil {
		f.f.Close()
		return os.Remove(f.f.Name())
	}
	_, err := f.f.WriteString(made.ID)
	return errors.Join(err, f.f.Close())
}

func createVerb(c *cli.Context) error {
	return withStore(c, func(s *layers.Store) error {
		cs, err := containersOf(s)
		if err != nil {
			return err
		}
		made, err := newContainer(c, s, cs, nil)
		if err != nil {
			return withCode(125, err)
		}
		_, err = fmt.Fprintln(c.App.Writer, made.ID)
		return err
	})
}

func runVerb(c *cli.Context) error {
	detach := c.Bool("detach")
	if detach && len(c.StringSlice("attach")) > 0 {
		return withCode(125, errors.New("conflicting options: --attach and --detach"))
	}
	if _, err := runner.ParseDetachKeys(c.String("detach-keys")); err != nil {
		return withCode(125, err)
	}
	if c.Bool("tty") && c.Bool("interactive") && !detach && !hasTermios(os.Stdin) {
		return withCode(1, errors.New("the input device is not a TTY: leave out -t")) // as Docker's client has it
	}
	return withStore(c, func(s *layers.Store) error {
		if c.Bool("show-sandbox") {
			return showSandbox(c, s)
		}
		cs, err := containersOf(s)
		if err != nil {
			return withCode(125, err)
		}
		made, err := newContainer(c, s, cs, func(o *runner.ContainerOptions) { o.Once = o.AutoRemove })
		if err != nil {
			return withCode(125, err)
		}
		switch {
		case detach:
			_, err = cs.Start(c.Context, made.ID, runner.StartOptions{Root: s.Root()})
			if err == nil {
				_, err = fmt.Fprintln(c.App.Writer, made.ID)
			}
		case made.Options.Terminal:
			err = runAttached(c, s, cs, made)
		default:
			err = runHere(c, s, cs, made)
		}
		return failedStart(err)
	})
}

// failedStart gives an error the exit code that docker gives it.
func failedStart(err error) error {
	var own *exitError
	if err == nil || errors.As(err, &own) {
		return err
	}
	return withCode(runner.ExitCode(err), err)
}

// soonSignals are received before the process starts. Go asks the kernel signal
// by signal, each by way of one certain thread, so the others (real-time signals,
// most of them) are received only for a process that lives for a moment.
var soonSignals = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2}

const laterSignals = 100 * time.Millisecond

// receiveLater receives all signals that are for the process. SIGURG is not: Go
// sends it to its own threads, often.
func receiveLater(signals chan<- os.Signal) {
	var rest []os.Signal
	for n := syscall.Signal(1); n <= 64; n++ {
		if runner.Passed(n) {
			rest = append(rest, n)
		}
	}
	signal.Notify(signals, rest...)
}

// runHere runs a container whose monitor is this process.
func runHere(c *cli.Context, s *layers.Store, cs *runner.Containers, made *runner.Container) error {
	signals := make(chan os.Signal, 64)
	if c.Bool("sig-proxy") {
		signal.Notify(signals, soonSignals...) // until the end of hod: stopping costs as much
	}
	f := runner.Foreground{Signals: signals, Stdout: os.Stdout, Stderr: os.Stderr}
	if c.Bool("sig-proxy") {
		f.Started = func() { time.AfterFunc(laterSignals, func() { receiveLater(signals) }) }
	}
	if made.Options.Interactive {
		f.Stdin = os.Stdin
	}
	if a := made.Options.Attach; len(a) > 0 {
		f = pickStreams(f, a)
	}
	code, err := cs.RunForeground(context.WithoutCancel(c.Context), runner.NewLauncher(s), made, f)
	if err != nil {
		return failedStart(err)
	}
	return ended(c, code)
}

func pickStreams(f runner.Foreground, attach []string) runner.Foreground {
	picked := runner.Foreground{Signals: f.Signals}
	for _, a := range attach {
		switch strings.ToLower(a) {
		case "stdin":
			picked.Stdin = f.Stdin
		case "stdout":
			picked.Stdout = f.Stdout
		case "stderr":
			picked.Stderr = f.Stderr
		}
	}
	return picked
}

// runAttached starts a container with a monitor of its own and attaches.
func runAttached(c *cli.Context, s *layers.Store, cs *runner.Containers, made *runner.Container) error {
	conn, err := cs.Start(c.Context, made.ID, runner.StartOptions{Root: s.Root(), Attach: true})
	if err != nil {
		return err
	}
	return session(c, cs, conn, made, made.Options.Interactive)
}
