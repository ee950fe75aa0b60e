package runner

import (
	"errors"
)

// ExitError is an error that carries the exit code that docker gives it: 127
// for a command that is not there, 126 for one that cannot be started.
type ExitError struct {
	Code int
	Err  error
}

// Error is that of the cause.
func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// ExitCode is what run and start exit with because of err: 0 for none, the
// code of an ExitError, else 125.
func ExitCode(err error) int {
	var e *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.Code
	}
	return 125
}
