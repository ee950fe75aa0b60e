//go:build !linux

package runner

import (
	"context"
	"errors"
	"runtime"
)

var errLinux = errors.New("commands run on Linux only: this is " + runtime.GOOS + " (recipes without RUN are built here)")

// Exec runs a command: not on this system.
func (r *Runner) Exec(context.Context, Command) (Exit, error) { return Exit{}, errLinux }

// Network makes a network for commands: there are none on this system.
func (r *Runner) Network(context.Context, string) (*Network, error) { return nil, errLinux }

// IDs takes no range where nothing runs.
func (r *Runner) IDs() (*IDs, error) { return &IDs{}, nil }

// Owner is who a user and a group are outside: nobody else, on this system.
func (i *IDs) Owner(uid, gid uint32) (int, int) { return int(uid), int(gid) }
