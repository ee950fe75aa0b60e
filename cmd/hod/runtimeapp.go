package main

import (
	"context"
	"io"
	"path/filepath"
	"strings"
)

// asRuntime says whether hod was called as an OCI runtime: by its verb, or under
// a name that ends in -runtime, as Docker's runtimes take no verb of their own.
func asRuntime(name string, args []string) ([]string, bool) {
	if strings.HasSuffix(filepath.Base(name), "-runtime") {
		return args, true
	}
	if len(args) > 1 && args[0] == "runtime" && args[1] != "--help" && args[1] != "-h" {
		return args[1:], true
	}
	return nil, false
}

// runRuntime is hod runtime. Its callers are programs that know runc's command
// line, so it is read as runc reads it: flags before the verb are the runtime's.
func runRuntime(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := runtimeCommand()
	app := newApp(stdout, stderr)
	app.Name, app.HideHelp = "hod runtime", false
	app.Flags, app.Before, app.Commands = command.Flags, command.Before, command.Subcommands
	err := app.RunContext(ctx, append([]string{"hod runtime"}, args...))
	return report(stderr, "runtime", err)
}
