package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/hodbuild/hod/cmd/conformance/corpus"
)

// withCommands stands between the recorded builds and hod: they import their bases as bare files, but were recorded with
// bases that have a command, so those are loaded instead.
const withCommands = `#!/bin/sh
if [ "$1" = import ]; then
	case $3 in
	*/busybox:*) exec %[1]s load -i %[2]s/busybox.tar ;;
	*/alpine:*) exec %[1]s load -i %[2]s/alpine.tar ;;
	esac
fi
exec %[1]s "$@"
`

// recordedCommands are what the bases had.
var recordedCommands = map[string]string{"busybox": "sh", "alpine": "/bin/sh"}

// runRecorded replays the builds that were recorded while BuildKit ran its own tests, where they lie beside the project.
func runRecorded(ctx context.Context, o options) score {
	s := score{name: "recorded builds of BuildKit's own tests", note: "the bases are given their commands"}
	replay := filepath.Join(o.repo, "../shared/cases/replay.py")
	if _, err := os.Stat(replay); err != nil {
		return s.left(errors.New("the folder of recorded builds is not there"))
	}
	wrapper := filepath.Join(o.work, "hod-with-commands")
	if err := os.WriteFile(wrapper, fmt.Appendf(nil, withCommands, o.hod, o.work), 0o755); err != nil {
		return s.left(err)
	}
	if err := recordedBases(ctx, o, replay); err != nil {
		return s.left(err)
	}
	cmd := exec.CommandContext(ctx, "python3", replay, wrapper, "--only", o.only.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	os.Stdout.Write(out)
	counts := regexp.MustCompile(`(\d+) passed, (\d+) failed`).FindSubmatch(out)
	if counts == nil {
		return s.left(fmt.Errorf("replay: %v", err))
	}
	s.passed, _ = strconv.Atoi(string(counts[1]))
	failed, _ := strconv.Atoi(string(counts[2]))
	s.of = s.passed + failed
	return s
}

// recordedBases makes the bases with their commands.
func recordedBases(ctx context.Context, o options, replay string) error {
	unpack := exec.CommandContext(ctx, "python3", replay, o.hod, "--only", "^nothing$") // what it unpacks stays
	if out, err := unpack.CombinedOutput(); err != nil {
		return fmt.Errorf("unpack recorded builds: %w: %s", err, lastLines(string(out), 2))
	}
	for name, command := range recordedCommands {
		files, err := os.ReadFile(filepath.Join(os.TempDir(), fmt.Sprintf("hod-cases-%d", os.Getuid()), name+".tar"))
		if err != nil {
			return err
		}
		b, err := corpus.Bundle(name, files, fmt.Sprintf(`{"config":{"Cmd":[%q]}}`, command))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(o.work, name+".tar"), b.Archive, 0o644); err != nil {
			return err
		}
	}
	return nil
}
