//go:build !linux

package main

import "github.com/urfave/cli/v2"

// runtimeCommand is nothing where there are no namespaces.
func runtimeCommand() *cli.Command {
	return &cli.Command{Name: "runtime", Usage: "Run OCI bundles (on Linux only)", Hidden: true}
}
