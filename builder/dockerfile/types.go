package dockerfile

import (
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Range is a piece of the recipe, in lines that count from 1.
type Range = parser.Range

// Stage is a FROM and the commands that follow it.
type Stage = instructions.Stage

// Command is one instruction; a type switch over the types below tells which.
type Command = instructions.Command

// The instructions of the language. Their fields are as written until Expand is called.
type (
	Add         = instructions.AddCommand
	Arg         = instructions.ArgCommand
	Cmd         = instructions.CmdCommand
	Copy        = instructions.CopyCommand
	Entrypoint  = instructions.EntrypointCommand
	Env         = instructions.EnvCommand
	Expose      = instructions.ExposeCommand
	Healthcheck = instructions.HealthCheckCommand
	Label       = instructions.LabelCommand
	Maintainer  = instructions.MaintainerCommand
	Onbuild     = instructions.OnbuildCommand
	Run         = instructions.RunCommand
	Shell       = instructions.ShellCommand
	StopSignal  = instructions.StopSignalCommand
	User        = instructions.UserCommand
	Volume      = instructions.VolumeCommand
	Workdir     = instructions.WorkdirCommand
)

// ArgValue is one name of an ARG line, with its default where it has one.
type ArgValue = instructions.KeyValuePairOptional

// FilesAndDest are the sources and the destination that ADD and COPY share.
type FilesAndDest = instructions.SourcesAndDest

// Mount is one --mount of a RUN.
type Mount = instructions.Mount

// The kinds of mounts.
const (
	MountBind   = instructions.MountTypeBind
	MountCache  = instructions.MountTypeCache
	MountTmpfs  = instructions.MountTypeTmpfs
	MountSecret = instructions.MountTypeSecret
	MountSSH    = instructions.MountTypeSSH
)

// Expander is a command whose words may hold variables.
type Expander = instructions.SupportsSingleWordExpansion

// RawExpander is a command with text (a heredoc's body) whose variables are replaced and whose quotes stay.
type RawExpander = instructions.SupportsSingleWordExpansionRaw

// Mounts returns the mounts of a RUN: only their From before Expand was called, complete after it.
func Mounts(c *Run) []*Mount { return instructions.GetMounts(c) }

// Network returns the --network of a RUN: default, none or host.
func Network(c *Run) string { return instructions.GetNetwork(c) }

// Security returns the --security of a RUN: sandbox or insecure.
func Security(c *Run) string { return instructions.GetSecurity(c) }

// Devices returns the names that the --device flags of a RUN ask for.
func Devices(c *Run) []string {
	var names []string
	for _, d := range instructions.GetDevices(c) {
		names = append(names, d.Name)
	}
	return names
}

// Lines returns the first and the last line that ranges touch; zeros when there are none.
func Lines(ranges []Range) (first, last int) {
	for _, r := range ranges {
		if first == 0 || r.Start.Line < first {
			first = r.Start.Line
		}
		last = max(last, r.End.Line)
	}
	return first, last
}
