package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/cmd/hod/progress"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

// exitError ends hod with a code. err is printed unless it is nil.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exit ends hod with a code and without a word: a container's own exit.
func exit(code int) error {
	if code == 0 {
		return nil
	}
	return &exitError{code: code}
}

// ended is exit with the code of a program in a container. One that was killed
// for a system call says so by its code only.
func ended(c *cli.Context, code int) error {
	if code == 128+int(syscall.SIGSYS) {
		fmt.Fprintln(c.App.ErrWriter, "hint: a program was killed for a system call that its profile refuses: --security-opt seccomp=FILE allows more, seccomp=unconfined all")
	}
	return exit(code)
}

// withCode gives err an exit code of its own.
func withCode(code int, err error) error {
	var done *exitError
	if err == nil || errors.As(err, &done) && done.err == nil {
		return err
	}
	return &exitError{code: code, err: err}
}

// hintError is an error with what to do about it. Any error with a method
// Hint() string is printed the same way.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// Hint is what to do about it.
func (e *hintError) Hint() string { return e.hint }

// withHint adds what to do about err. A full disk and too few descriptors have
// their own, whatever was done.
func withHint(err error, hint string) error {
	if err == nil || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE) {
		return err
	}
	return &hintError{err: err, hint: hint}
}

// hints is what to do about errors that carry no hint themselves.
var hints = []struct {
	fits func(error) bool
	hint string
}{
	{is(layers.ErrDamaged), "hod fsck names what is damaged, hod fsck --repair drops it"},
	{is(layers.ErrNotFound), "hod images lists what is here, hod pull NAME fetches"},
	{is(runner.ErrNoContainer), "hod ps -a lists the containers"},
	{is(builder.ErrNoRecipe), "-f FILE names the recipe; a context is the folder that COPY takes files from"},
	{is(layers.ErrAmbiguous), "type more of the ID"},
	{is(syscall.ENOSPC), "hod prune frees what nothing needs, hod df shows what takes the space"},
	{is(syscall.EMFILE), "raise the limit of open files: ulimit -n 1024, or --ulimit nofile=1024 of the container around hod"},
	{is(syscall.EADDRINUSE), "choose another port, or stop what listens on this one"},
	{isForbiddenFile, "this user may not: change the mode or the owner, or run hod as who may"},
	{is(syscall.ENOSYS), "hod needs Linux 5.15 or newer, and around it no filter that hides new system calls; hod info says what was granted"},
	{is(syscall.EROFS), "--root FOLDER or HOD_ROOT keeps everything in another folder"},
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// isForbiddenFile tells a file that may not be touched from whatever else is not permitted.
func isForbiddenFile(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && errors.Is(path, fs.ErrPermission)
}

// report prints err and gives the exit code of hod: 0, what the error says, 125
// where run, create or exec fail themselves, 130 after an interrupt, else 1.
func report(stderr io.Writer, verb string, err error) int {
	if err == nil {
		return 0
	}
	var exit *exitError
	if errors.As(err, &exit) && exit.err == nil {
		return exit.code
	}
	if errors.Is(err, context.Canceled) && foreign[verb] == 0 {
		fmt.Fprintln(stderr, "hod: interrupted")
		return 130
	}
	for _, one := range apart(err) {
		fmt.Fprintf(stderr, "hod: %s\n", strings.TrimPrefix(printable(one.Error()), errUsage.Error()+": "))
	}
	if h := hint(err); h != "" {
		fmt.Fprintf(stderr, "hint: %s\n", h)
	}
	switch {
	case exit != nil:
		return exit.code
	case foreign[verb] > 0:
		return 125
	}
	return 1
}

// apart are the errors of several things that a verb was asked to do, each a line.
func apart(err error) []error {
	var all []error
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			all = append(all, apart(e)...)
		}
	}
	if len(all) == 0 || errors.Join(all...).Error() != err.Error() { // one error, of parts
		return []error{err}
	}
	return all
}

func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		return h.Hint()
	}
	for _, row := range hints {
		if row.fits(err) {
			return row.hint
		}
	}
	return ""
}

// printable keeps text from images and registries from steering the terminal.
func printable(s string) string { return progress.Printable(s) }

// unravel prints each error inside err with its type, the outermost first.
func unravel(w io.Writer, err error) {
	for err != nil {
		fmt.Fprintf(w, "debug: %T: %s\n", err, printable(err.Error()))
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range many.Unwrap() {
				unravel(w, e)
			}
			return
		}
		err = errors.Unwrap(err)
	}
}
