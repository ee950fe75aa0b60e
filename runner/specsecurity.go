//go:build linux

package runner

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/hodbuild/hod/runner/sandbox"
	"github.com/hodbuild/hod/runner/seccomp"
)

// setSecurity reads --security-opt and --privileged, and adds the profile of
// system calls.
func setSecurity(s *specs.Spec, _ ImageConfig, o ContainerOptions) error {
	profile := ""
	for _, opt := range o.SecurityOpt {
		key, value, ok := strings.Cut(opt, "=")
		if !ok {
			key, value, ok = strings.Cut(opt, ":")
		}
		switch {
		case key == "no-new-privileges" && (!ok || value == "true"):
			s.Process.NoNewPrivileges = true
		case key == "no-new-privileges" && value == "false":
			s.Process.NoNewPrivileges = false
		case key == "seccomp" && ok:
			profile = value
		case key == "apparmor" && ok:
			s.Process.ApparmorProfile = value
		case key == "label" && value == "disable", key == "landlock" && value == "unconfined":
		case key == "systempaths" && value == "unconfined":
			s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
		default:
			return fmt.Errorf("unknown security option %q", opt)
		}
	}
	if o.Privileged {
		s.Process.NoNewPrivileges = false
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
		if profile == "" {
			profile = "unconfined"
		}
	}
	var err error
	switch profile {
	case "unconfined":
	case "", "builtin":
		s.Linux.Seccomp, err = seccomp.Default(s)
	default:
		var text []byte
		if text, err = os.ReadFile(profile); err == nil {
			s.Linux.Seccomp, err = seccomp.Load(text, s)
		}
		if err != nil {
			err = fmt.Errorf("seccomp profile %q: %w", profile, err)
		}
	}
	return err
}

// scope is what Landlock withholds: other containers' and the host's processes
// and abstract sockets are out of reach where a namespace is shared with them,
// unless that was lifted.
func (o ContainerOptions) scope() sandbox.Scope {
	var scope sandbox.Scope
	if o.Privileged || slices.ContainsFunc(o.SecurityOpt, func(opt string) bool { return strings.HasPrefix(opt, "landlock") }) {
		return 0
	}
	if o.mode() == "host" {
		scope |= sandbox.ScopeAbstractSockets
	}
	if o.PIDNS == "host" {
		scope |= sandbox.ScopeSignals
	}
	return scope
}
