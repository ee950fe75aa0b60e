package main

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry"
	"github.com/urfave/cli/v2"
)

// plainHTTP is the flag of every verb that speaks to registries.
func plainHTTP() cli.Flag {
	return &cli.StringSliceFlag{Name: "plain-http", Usage: "registry host to speak to without TLS (loopback always is)"}
}

func newClient(c *cli.Context) *registry.Client {
	return registry.New(registry.Options{PlainHTTP: plainHosts(c)})
}

// plainHosts are the hosts to speak to without TLS: those of --plain-http, and
// with Docker's --insecure the one of the first name.
func plainHosts(c *cli.Context) []string {
	hosts := c.StringSlice("plain-http")
	if n, err := layers.ParseName(c.Args().First()); err == nil && c.Bool("insecure") {
		hosts = append(hosts, n.Registry)
	}
	return hosts
}

func tagsCommand() *cli.Command {
	return &cli.Command{
		Name:      "tags",
		Usage:     "List the tags of a repository in a registry",
		ArgsUsage: "REPOSITORY",
		Flags:     []cli.Flag{plainHTTP()},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			tags, err := newClient(c).Tags(c.Context, c.Args().First())
			return tagsHint(c.Args().First(), printWords(c.App.Writer, tags, err))
		},
	}
}

// tagsHint leads from a repository that is not there to those that are.
func tagsHint(name string, err error) error {
	host, port, _ := strings.Cut(name, ":")
	if _, perr := strconv.ParseUint(port, 10, 16); err != nil && perr == nil && !strings.Contains(host, "/") {
		return withHint(err, "that is the address of a registry: hod catalog "+name+" lists its repositories")
	}
	var status *registry.StatusError
	if n, perr := layers.ParseName(name); perr == nil && errors.As(err, &status) && status.Status == http.StatusNotFound {
		return withHint(err, "hod catalog "+n.Registry+" lists the repositories, where the registry tells them")
	}
	return hinted(name, err)
}
