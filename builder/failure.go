package builder

import (
	"context"
	"errors"
	"path"

	"github.com/hodbuild/hod/builder/ops"
	"github.com/hodbuild/hod/builder/plan"
)

// Failure is a RUN that failed, whose state was kept.
type Failure struct {
	Step  *plan.Step
	Shell []string // the stage's shell
	state *ops.FailedState
}

// Session is where a command in a failed state reads and writes.
type Session = ops.Session

// Run runs a command in the state that the failed one left, with its mounts, environment, user and folder, and gives back
// its exit code.
func (f *Failure) Run(ctx context.Context, s Session) (int, error) {
	exit, err := f.state.Run(ctx, s)
	return exit.Code, err
}

// keepFailed remembers the first failure of a build.
func (b *build) keepFailed(s *plan.Step, op plan.Run, err error) {
	var exit *ops.ExitError
	if !errors.As(err, &exit) || exit.State == nil {
		return
	}
	b.keep(exit.State.Close)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failure == nil {
		b.failure = &Failure{Step: s, Shell: shellOf(op), state: exit.State}
	}
}

// shellOf is the shell that a RUN used, or the usual one.
func shellOf(op plan.Run) []string {
	if len(op.Args) > 0 {
		switch path.Base(op.Args[0]) {
		case "sh", "bash", "ash", "dash", "zsh", "ksh", "fish":
			return op.Args[:1]
		}
	}
	return []string{"/bin/sh"}
}

// failed lets the caller look at the state of the step that failed.
func (b *build) failed(ctx context.Context, err error) error {
	if b.failure == nil || ctx.Err() != nil {
		return err
	}
	return errors.Join(err, b.o.OnFailure(ctx, b.in.recipe.Wrap(err), b.failure))
}
