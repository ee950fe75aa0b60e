//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

func infoCommand() *cli.Command {
	return &cli.Command{
		Name: "info", Usage: "Say what this machine grants, what would raise it, and what is kept",
		Flags:  []cli.Flag{&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "print with a Go template, or json"}},
		Action: info,
	}
}

// machine is what info prints.
type machine struct {
	Version    string
	Root       string
	OS, Arch   string
	Kernel     string
	CPUs       int
	Images     int
	Containers int
	Running    int
	Rung       string
	Grants     []runner.Grant
}

func info(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	return lookAtStore(c, func(s *layers.Store) error {
		m, err := describe(c, s)
		if err != nil {
			return err
		}
		switch f := c.String("format"); f {
		case "":
			return printInfo(c, m)
		case "json":
			return json.NewEncoder(c.App.Writer).Encode(m)
		default:
			return printTemplate(c.App.Writer, f, m)
		}
	})
}

func describe(c *cli.Context, s *layers.Store) (machine, error) {
	m := machine{Version: versionName(), Root: s.Root(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	m.Rung, m.Grants = runner.Rungs(c.Context, s.Root())
	m.Kernel = runner.Kernel()
	images, err := s.Images(c.Context)
	if err != nil {
		return m, err
	}
	m.Images = len(images)
	cs, err := containersOf(s)
	if err != nil {
		return m, err
	}
	list, err := cs.List(c.Context)
	for _, e := range list {
		m.Containers++
		if e.State.Running() {
			m.Running++
		}
	}
	return m, err
}

func printInfo(c *cli.Context, m machine) error {
	w := c.App.Writer
	fmt.Fprintf(w, "hod %s, %s/%s, %s, %d processors\n", m.Version, m.OS, m.Arch, m.Kernel, m.CPUs)
	fmt.Fprintf(w, "Store:      %s (user %d)\n", m.Root, os.Geteuid())
	fmt.Fprintf(w, "Images:     %d\n", m.Images)
	fmt.Fprintf(w, "Containers: %d, %d of them running\n", m.Containers, m.Running)
	fmt.Fprintf(w, "Rung:       %s\n\n", m.Rung)
	for _, g := range m.Grants {
		mark := "no "
		if g.Granted {
			mark = "yes"
		}
		fmt.Fprintf(w, "%s  %-18s %s\n", mark, g.Name, g.What)
		if g.Raise != "" {
			fmt.Fprintf(w, "%-24sto raise it: %s\n", "", g.Raise)
		}
	}
	return nil
}
