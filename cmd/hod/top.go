//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

func topCommand() *cli.Command {
	return &cli.Command{Name: "top", Usage: "List the processes of a container", ArgsUsage: "CONTAINER [OPTIONS OF PS]", Action: func(c *cli.Context) error {
		if err := arguments(c, 1, -1); err != nil {
			return err
		}
		return withContainers(c, func(cs *runner.Containers) error {
			list, err := cs.Top(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			if c.NArg() > 1 {
				var pids []int
				for _, p := range list {
					pids = append(pids, p.PID)
				}
				return printPs(c.App.Writer, pids, c.Args().Tail())
			}
			w := tabwriter.NewWriter(c.App.Writer, 8, 0, 3, ' ', 0)
			fmt.Fprintln(w, "UID\tPID\tPPID\tTIME\tCMD")
			for _, p := range list {
				s := int(p.CPU.Seconds())
				fmt.Fprintf(w, "%d\t%d\t%d\t%02d:%02d:%02d\t%s\n", p.UID, p.PID, p.PPID, s/3600, s/60%60, s%60, printable(p.Command))
			}
			return w.Flush()
		})
	}}
}

// printPs shows what the machine's ps says of the processes, with options of its own.
func printPs(w io.Writer, pids []int, options []string) error {
	var why bytes.Buffer
	var list []string
	for _, pid := range pids {
		list = append(list, strconv.Itoa(pid))
	}
	// One that shows only this terminal's processes shows those asked for; not every ps can.
	out, err := exec.Command("ps", append(slices.Clone(options), "-q", strings.Join(list, ","))...).Output()
	if err != nil {
		cmd := exec.Command("ps", options...)
		cmd.Stderr = &why
		out, err = cmd.Output()
	}
	if errors.Is(err, exec.ErrNotFound) {
		return withHint(errors.New("options of ps: this machine has no ps"), "leave them out, or install procps")
	}
	if err != nil {
		said, _, _ := strings.Cut(strings.TrimSpace(why.String()), "\n")
		return fmt.Errorf("ps %s: %s", strings.Join(options, " "), printable(said))
	}
	heading, rest, _ := strings.Cut(string(out), "\n")
	at := slices.Index(strings.Fields(heading), "PID")
	if at < 0 {
		return withHint(fmt.Errorf("ps %s: its table has no column PID", strings.Join(options, " ")), "add pid to its columns, as in -o pid,comm")
	}
	fmt.Fprintln(w, heading)
	for _, line := range strings.Split(rest, "\n") {
		if f := strings.Fields(line); len(f) > at && slices.Contains(list, f[at]) {
			fmt.Fprintln(w, printable(line))
		}
	}
	return nil
}
