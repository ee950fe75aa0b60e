package main

import (
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

// withContainers calls fn with the store's containers.
func withContainers(c *cli.Context, fn func(*runner.Containers) error) error {
	return withStore(c, func(s *layers.Store) error {
		cs, err := containersOf(s)
		if err != nil {
			return err
		}
		return fn(cs)
	})
}

func containersOf(s *layers.Store) (*runner.Containers, error) {
	return runner.OpenContainers(s.Dir("containers"), s.Dir("volumes"))
}
