//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hodbuild/hod/runner/bundle"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// runtimeCommand is the face of an OCI runtime, with runc's verbs and flags.
func runtimeCommand() *cli.Command {
	bundleFlag := &cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Value: ".", Usage: "the bundle's folder"}
	socket := &cli.StringFlag{Name: "console-socket", Usage: "socket that gets the terminal's master"}
	pidFile := &cli.StringFlag{Name: "pid-file", Usage: "file that gets the process's number"}
	ignored := []cli.Flag{
		&cli.IntFlag{Name: "preserve-fds", Usage: "must be 0: no descriptor is passed on"},
		&cli.BoolFlag{Name: "no-pivot", Usage: "refused: the root is always pivoted into"},
		&cli.BoolFlag{Name: "no-new-keyring", Usage: "refused: a session keyring is always made"},
	}
	create := append([]cli.Flag{bundleFlag, socket, pidFile}, ignored...)
	verb := func(name, usage string, flags []cli.Flag, do func(*cli.Context, bundle.Runtime, string) error) *cli.Command {
		return &cli.Command{Name: name, Usage: usage, ArgsUsage: "ID", Flags: flags, Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1); err != nil {
				return err
			}
			return runtimeLog(c, do(c, bundle.Runtime{Root: c.String("root")}, c.Args().First()))
		}}
	}
	return &cli.Command{
		Name: "runtime", Usage: "Run OCI bundles as runc does, for Docker, Podman and containerd",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "root", Value: "/run/hod/runtime", Usage: "folder of the containers' states"},
			&cli.StringFlag{Name: "log", Usage: "file that gets errors too"}, &cli.StringFlag{Name: "log-format", Value: "text", Usage: "text or json"},
			&cli.BoolFlag{Name: "systemd-cgroup", Usage: "refused: control groups are made by hod itself"}, &cli.BoolFlag{Name: "debug", Usage: "accepted: errors are always told whole"},
			&cli.StringFlag{Name: "rootless", Usage: "accepted: hod sees by itself what it may do"},
		},
		Before: func(c *cli.Context) error {
			if c.Bool("systemd-cgroup") {
				return runtimeLog(c, errors.New("--systemd-cgroup: hod makes control groups itself; use the cgroupfs driver"))
			}
			return nil
		},
		Subcommands: append(runtimeLimitVerbs(verb), []*cli.Command{
			verb("create", "Make a container whose process waits for start", create, runtimeCreate),
			verb("run", "Create, start, wait and delete", append(create, &cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "do not wait"}), runtimeRun),
			verb("start", "Let a created container execute its program", nil, func(_ *cli.Context, r bundle.Runtime, id string) error { return r.Start(id) }),
			verb("state", "Print a container's state", nil, runtimeState),
			verb("kill", "Send a signal, SIGTERM unless named", []cli.Flag{&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "to each process"}}, runtimeKill),
			verb("delete", "Take a container away", []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "even if it runs"}},
				func(c *cli.Context, r bundle.Runtime, id string) error { return r.Delete(id, c.Bool("force")) }),
			verb("exec", "Run a further process", []cli.Flag{
				&cli.StringFlag{Name: "process", Aliases: []string{"p"}, Usage: "file with the process"}, socket, pidFile,
				&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "do not wait"}, &cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "with a terminal"},
				&cli.StringFlag{Name: "cwd", Usage: "working folder"}, &cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set a variable"},
				&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "run as UID[:GID]"},
			}, runtimeExec),
			{Name: "list", Usage: "List containers", Action: runtimeList, Flags: []cli.Flag{&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "print this `FORM`: table or json"}}},
			{Name: "spec", Usage: "Write a config.json to begin with", Flags: []cli.Flag{bundleFlag}, Action: func(c *cli.Context) error { return bundle.WriteSpec(c.String("bundle")) }},
			{Name: "features", Usage: "Print what this runtime knows", Action: func(c *cli.Context) error { return bundle.Features(c.App.Writer) }},
		}...),
	}
}

// runtimeLog writes an error where the caller reads it too.
func runtimeLog(c *cli.Context, err error) error {
	var own *exitError
	if err == nil || errors.As(err, &own) || c.String("log") == "" {
		return err
	}
	line := fmt.Sprintf("time=%q level=error msg=%q\n", time.Now().Format(time.RFC3339), err)
	if c.String("log-format") == "json" {
		text, _ := json.Marshal(map[string]string{"level": "error", "msg": err.Error(), "time": time.Now().Format(time.RFC3339Nano)})
		line = string(text) + "\n"
	}
	f, openErr := os.OpenFile(c.String("log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	_, writeErr := f.WriteString(line)
	return errors.Join(err, writeErr, f.Close())
}

func createOptions(c *cli.Context) (bundle.CreateOptions, error) {
	for _, name := range []string{"no-pivot", "no-new-keyring"} {
		if c.Bool(name) {
			return bundle.CreateOptions{}, fmt.Errorf("--%s is not supported", name)
		}
	}
	if c.Int("preserve-fds") != 0 {
		return bundle.CreateOptions{}, errors.New("--preserve-fds: no descriptor is passed on")
	}
	return bundle.CreateOptions{Bundle: c.String("bundle"), ConsoleSocket: c.String("console-socket"), PidFile: c.String("pid-file")}, nil
}

func runtimeCreate(c *cli.Context, r bundle.Runtime, id string) error {
	o, err := createOptions(c)
	if err != nil {
		return err
	}
	return r.Create(c.Context, id, o)
}

func runtimeRun(c *cli.Context, r bundle.Runtime, id string) error {
	o, err := createOptions(c)
	if err != nil {
		return err
	}
	if c.Bool("detach") {
		return errors.Join(r.Create(c.Context, id, o), r.Start(id))
	}
	code, err := r.Run(c.Context, id, o)
	if err != nil {
		return err
	}
	return exit(code)
}

func runtimeState(c *cli.Context, r bundle.Runtime, id string) error {
	s, err := r.State(id)
	if err != nil {
		return err
	}
	return printIndented(c, s)
}

func printIndented(c *cli.Context, v any) error {
	e := json.NewEncoder(c.App.Writer)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func runtimeKill(c *cli.Context, r bundle.Runtime, id string) error {
	sig := unix.SIGTERM
	if name := c.Args().Get(1); name != "" {
		n, err := strconv.Atoi(name)
		if err == nil {
			sig = unix.Signal(n)
		} else if sig = unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); sig == 0 {
			return fmt.Errorf("unknown signal %q", name)
		}
	}
	return r.Kill(id, sig, c.Bool("all"))
}

func runtimeList(c *cli.Context) error {
	list, err := bundle.Runtime{Root: c.String("root")}.List()
	if err != nil {
		return err
	}
	if c.String("format") == "json" {
		return printIndented(c, list)
	}
	for _, s := range list {
		fmt.Fprintf(c.App.Writer, "%s\t%d\t%s\t%s\n", s.ID, s.Pid, s.Status, s.Bundle)
	}
	return nil
}

func runtimeExec(c *cli.Context, r bundle.Runtime, id string) error {
	p, err := execProcess(c, r, id)
	if err != nil {
		return err
	}
	code, err := r.Exec(c.Context, id, bundle.ExecOptions{
		Process: p, ConsoleSocket: c.String("console-socket"), PidFile: c.String("pid-file"), Detach: c.Bool("detach"),
	})
	if err != nil {
		return withCode(255, err)
	}
	return exit(code)
}

func execProcess(c *cli.Context, r bundle.Runtime, id string) (*specs.Process, error) {
	if file := c.String("process"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		p := &specs.Process{}
		return p, json.Unmarshal(text, p)
	}
	if c.NArg() < 2 {
		return nil, errors.New("exec needs a command, or --process")
	}
	p, err := r.Process(id, c.Args().Tail(), c.StringSlice("env"))
	if err != nil {
		return nil, err
	}
	p.Terminal = c.Bool("tty")
	if dir := c.String("cwd"); dir != "" {
		p.Cwd = dir
	}
	if user := c.String("user"); user != "" {
		if _, err := fmt.Sscanf(user+":0", "%d:%d", &p.User.UID, &p.User.GID); err != nil {
			return nil, fmt.Errorf("user %q: not UID[:GID]", user)
		}
	}
	return p, nil
}
