package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// version is set by release builds with -X.
var version = ""

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "Tell which hod this is",
		Flags: []cli.Flag{formatFlag()},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			v := map[string]any{
				"Version": versionName(), "GoVersion": runtime.Version(),
				"Os": runtime.GOOS, "Arch": runtime.GOARCH,
			}
			if c.String("format") != "" {
				return printTemplate(c.App.Writer, c.String("format"), v)
			}
			_, err := fmt.Fprintf(c.App.Writer, "hod %s %s/%s %s\n", v["Version"], runtime.GOOS, runtime.GOARCH, runtime.Version())
			return err
		},
	}
}

// versionName is what the release says, else what Go knows of the checkout.
func versionName() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "dev"
	}
	return info.Main.Version
}
