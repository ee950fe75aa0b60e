package main

import (
	"context"
	"fmt"
	"os"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/cmd/hod/progress"
	"github.com/urfave/cli/v2"
)

// onFailure reads --on-failure. With shell, a shell is opened in the state that a failed RUN left, once everything else
// has ended and was shown.
func onFailure(c *cli.Context, v *progress.View, o *builder.Options) error {
	switch how := c.String("on-failure"); how {
	case "":
		return nil
	case "shell":
	default:
		return fmt.Errorf("--on-failure %q is not known: use shell", how)
	}
	if o.Context == "-" || o.File == "-" {
		return fmt.Errorf("--on-failure=shell needs standard input, which is the build's recipe or context")
	}
	o.OnFailure = func(ctx context.Context, err error, f *builder.Failure) error {
		v.Close()
		excerpt(c, err)
		tty := hasTermios(os.Stdin) && hasTermios(os.Stdout)
		fmt.Fprintf(c.App.ErrWriter, "hod: %v\nA shell in the state that it left; exit ends the build.\n", err)
		restore, terr := rawTerminal(tty)
		if terr != nil {
			return terr
		}
		defer restore()
		_, err = f.Run(ctx, builder.Session{Args: f.Shell, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, TTY: tty})
		return err
	}
	return nil
}
