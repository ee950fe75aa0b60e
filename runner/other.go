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
func (r *Runner) Network(context.Context, string, bool) (*Network, error) { return nil, errLinux }

// IDs takes no range where nothing runs.
func (r *Runner) IDs() (*IDs, error) { return &IDs{}, nil }

// Keep changes nothing: nothing has a range.
func (i *IDs) Keep() {}

// Owner is who a user and a group are outside: nobody else, on this system.
func (i *IDs) Owner(uid, gid uint32) (int, int) { return int(uid), int(gid) }

// ErrNoContainer says that there is no container of that name: here there is none at all.
var ErrNoContainer = errors.New("no such container")

// Containers are the containers of a store: none on this system.
type Containers struct{}

// Entry is a container in a list.
type Entry struct{ Name string }

// Uses is false: there are no containers.
func (Entry) Uses(imageID string) bool { return false }

// OpenContainers opens an empty list.
func OpenContainers(string, string) (*Containers, error) { return &Containers{}, nil }

// List lists nothing.
func (*Containers) List(context.Context) ([]Entry, error) { return nil, nil }

// Exists says no.
func (*Containers) Exists(string) bool { return false }

// Tried does nothing where there are no namespaces to try.
func Tried() {}
